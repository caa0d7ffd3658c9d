"""The recipes in ``deploy/``: the real proxies, in front of a real server, with calls through them.

Only what belongs to a machine is changed in the files: names, ports, certificates, logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, place_call
from mediaserver.tokens import issue
from mediaserver.wire.messages import TOKEN_PARAMETER
from tests.ports import free_port
from tests.server.conftest import Serving, serving
from tests.server.sockets import certificates

__all__ = ["serving"]

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
SECRET = "a shared secret"
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/mediaserver.conf;
}}
"""


def changed(text: str, changes: dict[str, str]) -> str:
    """A recipe for this machine; whatever is to be changed must be there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx(folder: Path, port: int, backend: int, pair: tuple[Path, Path]) -> list[str]:
    """The command line of nginx with its recipe."""
    recipe = changed(
        (DEPLOY / "nginx.conf").read_text(),
        {
            "127.0.0.1:8080": f"127.0.0.1:{backend}",
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "    listen [::]:443 ssl;\n": "",
            "/etc/ssl/media.example.com.pem": str(pair[0]),
            "/etc/ssl/media.example.com.key": str(pair[1]),
            "/var/log/nginx/mediaserver.log": f"{folder}/access.log",
            "server_name media.example.com": "server_name localhost",
        },
    )
    (folder / "mediaserver.conf").write_text(recipe)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def caddy(folder: Path, port: int, backend: int, pair: tuple[Path, Path]) -> list[str]:
    """The command line of Caddy with its recipe."""
    recipe = changed(
        (DEPLOY / "Caddyfile").read_text(),
        {
            "127.0.0.1:8080": f"127.0.0.1:{backend}",
            "\nmedia.example.com {": f"\nhttps://localhost:{port} {{\n\ttls {pair[0]} {pair[1]}\n"
            "\tbind 127.0.0.1",
            "{\n\tservers {": "{\n\tadmin off\n\tauto_https disable_redirects\n\tservers {",
        },
    )
    (folder / "Caddyfile").write_text(recipe)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def started(command: list[str], folder: Path, path: str) -> subprocess.Popen[bytes]:
    """The proxy's process; what it says is in the file ``said``."""
    env = {**os.environ, "PATH": path, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(command, env=env, stdout=said, stderr=said)


@contextlib.asynccontextmanager
async def proxy(name: str, folder: Path, server: MediaServer) -> AsyncIterator[str]:
    """The URL of a server behind a proxy; skips where the proxy is not installed."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    if shutil.which(name, path=path) is None:
        pytest.skip(f"needs Debian's package {name}")
    pair, port = certificates.make(folder), free_port()
    make = {"nginx": nginx, "caddy": caddy}[name]
    command = make(folder, port, server.service.port, pair)
    process = started(command, folder, path)
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            assert process.poll() is None, (folder / "said").read_text()
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        yield f"wss://localhost:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("name", ["nginx", "caddy"])
async def test_calls_pass_a_proxy_whole(
    serving: Serving, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every frame comes back; tokens in header, path and query arrive; a call may ring."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    async with serving("echo", auth_token=SECRET) as server:
        async with proxy(name, tmp_path, server) as url:
            token = issue(SECRET, time.time())
            plan = CallPlan(seconds=1.0, linger_s=20.0)
            reports = await asyncio.gather(
                place_call(f"{url}/media", CallPlan(seconds=1.0, linger_s=20.0, token=SECRET)),
                place_call(f"{url}/media/{token}", plan),
                place_call(f"{url}/media?{TOKEN_PARAMETER}={quote(SECRET)}", CallPlan(seconds=0.2)),
                place_call(f"{url}/media", CallPlan(seconds=0.2, ring_s=2.0, token=SECRET)),
            )
            for report in reports:
                assert report.error is None
                assert report.close_code == 1000
            assert [report.lost for report in reports[:2]] == [0, 0]
            refused = await place_call(f"{url}/media", CallPlan(seconds=0.1, token="wrong"))
            assert "401" in str(refused.error)


@pytest.mark.parametrize("name", ["nginx", "caddy"])
async def test_requests_pass_a_proxy(serving: Serving, tmp_path: Path, name: str) -> None:
    """Health, and with it webhooks, are answered by the server."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    async with serving("echo") as server:
        async with proxy(name, tmp_path, server) as url:
            ran = await asyncio.create_subprocess_exec(
                curl, "-s", "--cacert", str(tmp_path / "cert.pem"),
                url.replace("wss", "https") + "/healthz?a=b",
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            answer, _ = await asyncio.wait_for(ran.communicate(), 60)
            assert b'"ok"' in answer
