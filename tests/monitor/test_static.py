"""Pages from files of the package."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from mediaserver.monitor.static import POLICY, static_routes


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Of a server with two files, also behind a prefix."""
    (tmp_path / "page" / "part").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text("<p>whole</p>")
    (tmp_path / "page" / "part" / "a.js").write_text("export const a = 1;")
    (tmp_path / "page" / "secret.key").write_text("no page needs this")
    (tmp_path / "beside.html").write_text("outside")
    routes = static_routes("/live", tmp_path / "page")
    app = Starlette(routes=[*routes, Mount("/prefix", routes=routes)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://here", follow_redirects=True
    ) as client:
        yield client


async def test_a_page_and_its_parts(client: httpx.AsyncClient) -> None:
    """Each has its type and the policy, and is not sent again while it is the same."""
    for base in ("", "/prefix"):
        answer = await client.get(f"{base}/live")
        assert (answer.status_code, answer.text) == (200, "<p>whole</p>")
        assert answer.url.path == f"{base}/live/"
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    script = await client.get("/live/part/a.js")
    assert script.headers["content-type"].startswith("text/javascript")
    again = await client.get("/live/part/a.js", headers={"If-None-Match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_no_inline_script_may_run() -> None:
    """Nor anything from another server, by the policy."""
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert "default-src 'none'" in POLICY


@pytest.mark.parametrize(
    "path",
    [
        "/live/secret.key",
        "/live/../beside.html",
        "/live/%2e%2e/beside.html",
        "/live/part",
        "/live/part/",
        "/live//index.html",
        "/live/..%2fbeside.html",
    ],
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, path: str) -> None:
    """No other kind of file, no folder, nothing beside it."""
    assert (await client.get(path)).status_code == 404
