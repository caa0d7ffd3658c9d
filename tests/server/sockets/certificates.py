"""Certificates for loopback, made anew for each test that wants some."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


def make(folder: Path, name: str = "cert") -> tuple[Path, Path]:
    """A certificate and its key; skips where there is no OpenSSL program."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", key, "-out", cert,
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def trusting(*certs: Path) -> ssl.SSLContext:
    """What a client needs that trusts these, and no other."""
    context = ssl.create_default_context()
    for cert in certs:
        context.load_verify_locations(cert)
    return context
