"""Have testssl.sh (Debian's package) look at this server's TLS; prints what it finds.

    python -m tools.check_tls

Fails on any finding above LOW that is not about the certificate, which is made here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# What a certificate made for this has, and a real one has not; and what is about HTTP pages.
OF_THE_CERTIFICATE = ("cert", "DNS_CAArecord", "OCSP", "overall_grade", "grade_cap", "final_score")
ABOVE_LOW = ("MEDIUM", "HIGH", "CRITICAL")


def main() -> int:
    """The exit code: 1, if something was found."""
    testssl = shutil.which("testssl") or shutil.which("testssl.sh")
    if testssl is None:
        print("testssl.sh is not installed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        cert, key, found = (Path(folder, name) for name in ("cert.pem", "key.pem", "found.json"))
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert,
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        server = subprocess.Popen(
            [
                sys.executable, "-m", "mediaserver", "serve", "--port", "0", "--processor", "echo",
                "--tls-cert", str(cert), "--tls-key", str(key), "--auth-token", "check",
            ],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert server.stderr is not None
            ready = next(line for line in server.stderr if "ready on" in line)
            port = ready.rsplit(":", 1)[1].split("/")[0]
            subprocess.run(
                [testssl, "--quiet", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1",
                 "--jsonfile", str(found), f"localhost:{port}"],
                stdout=subprocess.DEVNULL, check=False, timeout=900,
            )  # fmt: skip
        finally:
            server.terminate()
            server.wait()
        return _report(json.loads(found.read_text()))


def _report(findings: list[dict[str, str]]) -> int:
    bad = []
    for each in findings:
        severity, name = each["severity"], each["id"]
        if severity in ("OK", "INFO"):
            continue
        is_ours = not any(name.startswith(prefix) for prefix in OF_THE_CERTIFICATE)
        print(f"{severity:8} {name}: {each['finding'][:100]}{'' if is_ours else ' (not ours)'}")
        if is_ours and severity in ABOVE_LOW:
            bad.append(name)
    print(f"{len(findings)} checks, {len(bad)} findings above LOW")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
