"""Who may see the admin pages, and where they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from mediaserver.app import MediaServer
from mediaserver.errors import ConfigurationError
from mediaserver.settings import Settings
from tests.ports import free_port

TOKEN = "admin-canary-7"


class Server(MediaServer):
    """A server with one admin page."""

    def _admin_routes(self) -> list[BaseRoute]:
        async def secrets(_: Request) -> Response:
            return PlainTextResponse("for you alone")

        return [Route("/secrets", secrets, methods=["GET", "POST"])]


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[tuple[MediaServer, httpx.AsyncClient]]:
    """A server of these settings, and a client."""
    async with Server(Settings(port=0, **settings)) as server:
        async with httpx.AsyncClient(trust_env=False) as client:
            yield server, client


def media_url(server: MediaServer, path: str) -> str:
    return f"http://127.0.0.1:{server.service.port}{path}"


async def assert_closed(url: str) -> None:
    """Nobody listens there."""
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_without_a_setting_there_is_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """404 like any other path, and no word in the log; health is open."""
    async with served() as (server, client):
        assert server.admin_url is None
        assert (await client.get(media_url(server, "/secrets"))).status_code == 404
        assert (await client.get(media_url(server, "/healthz"))).status_code == 200
    assert "admin" not in caplog.text


async def test_a_token_opens_the_pages_on_the_media_port() -> None:
    """With the token 200, and without it 401 that says how; health needs none."""
    async with served(admin_token=TOKEN) as (server, client):
        assert server.admin_url == media_url(server, "")
        url = f"{server.admin_url}/secrets"
        answer = await client.get(url, headers={"Authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.text) == (200, "for you alone")
        answer = await client.get(url, headers={"Authorization": f"bearer  {TOKEN}"})
        assert answer.status_code == 200
        answer = await client.get(url)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert server.service.counters["refused_admin"] == 1
        for path in ("/healthz", "/readyz"):
            assert (await client.get(media_url(server, path))).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        [("Authorization", TOKEN)],
        [("Authorization", f"Basic {TOKEN}")],
        [("Authorization", f"Bearer {TOKEN}x")],
        [("Authorization", f"Bearer {TOKEN[:-1]}")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer \xff\xe9")],
        [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")],
        [("X-Admin-Token", TOKEN)],
    ],
)
async def test_what_is_not_the_token_is_refused(fields: list[tuple[str, str]]) -> None:
    """Another scheme, one octet more or less, none, no ASCII, two: 401, also for a POST."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    async with served(admin_token=TOKEN) as (server, client):
        for method in ("GET", "POST", "DELETE"):
            answer = await client.request(method, f"{server.admin_url}/secrets", headers=raw)
            assert answer.status_code == 401
        assert server.service.counters["refused_admin"] == 3


async def test_a_token_of_any_text_is_a_token() -> None:
    """Its octets are those of UTF-8."""
    async with served(admin_token="schlüssel €") as (server, client):
        field = (b"Authorization", "Bearer schlüssel €".encode())
        answer = await client.get(f"{server.admin_url}/secrets", headers=[field])
        assert answer.status_code == 200


async def test_a_second_port_has_the_pages_alone() -> None:
    """They are not on the media port then, and there is no media on the second one."""
    async with served(admin_port=0) as (server, client):
        assert server.admin_url is not None
        assert (await client.get(f"{server.admin_url}/secrets")).text == "for you alone"
        assert (await client.get(f"{server.admin_url}/media")).status_code == 404
        assert (await client.get(media_url(server, "/secrets"))).status_code == 404
        url = server.admin_url
    await assert_closed(url)


async def test_a_token_holds_on_the_second_port_too() -> None:
    """Where both are set, the second port asks for it, and the media port has no pages."""
    async with served(admin_port=0, admin_token=TOKEN) as (server, client):
        url = f"{server.admin_url}/secrets"
        field = {"Authorization": f"Bearer {TOKEN}"}
        assert (await client.get(url)).status_code == 401
        assert (await client.get(url, headers=field)).status_code == 200
        assert (await client.get(media_url(server, "/secrets"), headers=field)).status_code == 404


async def test_a_web_page_of_another_site_is_refused_where_no_token_guards() -> None:
    """Also one whose name was made to lead here; this port's own pages, and tools, are not."""
    async with served(admin_port=0) as (server, client):
        url, port = f"{server.admin_url}/secrets", httpx.URL(server.admin_url or "").port
        own = {"Origin": f"http://127.0.0.1:{port}"}
        assert (await client.post(url, headers=own)).status_code == 200
        local = {"Origin": f"http://localhost:{port}", "Host": f"localhost:{port}"}
        assert (await client.post(url, headers=local)).status_code == 200
        named = {"Host": f"mediaserver-1:{port}"}
        assert (await client.get(url, headers=named)).status_code == 200
        for odd in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://evil.example:{port}", "Host": f"evil.example:{port}"},
        ):
            assert (await client.post(url, headers=odd)).status_code == 403


async def test_a_port_that_is_taken_is_a_wrong_setting() -> None:
    """It names the setting, and the media port is given back."""
    async with served(admin_port=0) as (server, _):
        taken = httpx.URL(server.admin_url or "").port
        second = Server(Settings(port=(port := free_port()), admin_port=taken))
        with pytest.raises(ConfigurationError, match=rf"admin_port: .*127\.0\.0\.1:{taken}"):
            await second.__aenter__()
        await assert_closed(f"http://127.0.0.1:{port}")
        await second.__aexit__(None, None, None)


@pytest.mark.parametrize(("token", "is_said"), [(None, True), (TOKEN, False)])
async def test_an_open_port_that_others_reach_is_said(
    caplog: pytest.LogCaptureFixture, token: str | None, is_said: bool
) -> None:
    """Once, at the start, and only where no token guards it."""
    async with served(admin_port=0, admin_host="0.0.0.0", admin_token=token) as (server, _):
        assert (server.admin_url or "").startswith("http://127.0.0.1:")
    assert ("the admin pages are open to anybody" in caplog.text) is is_said
