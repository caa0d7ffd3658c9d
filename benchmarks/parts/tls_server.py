"""``mediaserver serve --processor echo`` with TLS, with a certificate made for one run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of localhost in a folder, unless it is there; its file, and its key's."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    if cert.exists():
        return cert, key
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def main(port: str) -> None:
    """Become the server; the certificate's folder is left to the system's cleaning."""
    cert, key = certificate(Path(tempfile.mkdtemp(prefix="bench-tls-")))
    serve = ["serve", "--port", port, "--processor", "echo"]
    tls = ["--tls-cert", str(cert), "--tls-key", str(key)]
    os.execv(sys.executable, [sys.executable, "-m", "mediaserver", *serve, *tls])


if __name__ == "__main__":
    main(sys.argv[1])
