"""``mediaserver phone`` and ``mediaserver serve --phone``, as commands."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from mediaserver import MediaServer, Settings
from mediaserver.cli import main
from mediaserver.cli.commands.phone.command import has_desktop
from mediaserver.phone import PhoneServer
from mediaserver.settings import ProcessorSetting
from tests.phone.pages import opened
from tests.phone.serving import WITHIN_S, Served, served
from tests.ports import free_port


class At(PhoneServer):
    """A phone in another process."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        """Where it is."""
        return self._url


async def test_a_phone_alone_calls_a_server_anywhere() -> None:
    """It says where the page is, places a call, and ends with exit code 0."""
    async with MediaServer(Settings(port=0, processors=(ProcessorSetting("echo"),))) as server:
        arguments = ("phone", "--url", server.url, "--port", "0")
        phone = await asyncio.to_thread(Served, *arguments)
        try:
            async with opened(At(phone.phone_url)) as page:
                await page.call(source="clip")
                await page.until(lambda: page.figures.get("heard_s", 0) > 0)
        finally:
            code = await asyncio.to_thread(phone.end)
    assert code == 0


async def test_a_phones_call_does_not_keep_a_server_that_is_told_to_stop() -> None:
    """It hangs up; the page is told; what has no phone has no such page."""
    with served("--processor", "echo") as server:
        async with opened(At(server.phone_url)) as page:
            await page.call(source="clip")
            server.signal(signal.SIGTERM)
            await page.until(lambda: page.socket.close_code == 1001)
        await asyncio.to_thread(server.wait_for, r"(call \S+ ended: reason stop)")


async def test_the_page_is_there_again_after_a_reload(tmp_path: Path) -> None:
    """The new process takes the port when the old one has gone, whose page was open."""
    port, pid_file = free_port(), tmp_path / "pid"
    flags = ("--processor", "echo", "--pid-file", str(pid_file))
    with served(*flags, phone_port=port) as server:
        old = int(pid_file.read_text())
        async with opened(At(server.phone_url)) as page:
            server.signal(signal.SIGHUP)
            await page.until(lambda: page.socket.close_code is not None)
        try:
            await _placed(At(server.phone_url))
        finally:
            new = int(pid_file.read_text())
            assert new != old
            os.kill(new, signal.SIGTERM)


async def _placed(phone: PhoneServer) -> None:
    """Return when a call was placed."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                async with opened(phone) as page:
                    await page.call(source="clip")
                    return
            except OSError:
                await asyncio.sleep(0.1)


def test_the_live_page_leads_to_it() -> None:
    """It is told where the phone's page is."""
    port = free_port()
    with served("--processor", "echo", "--admin-port", str(port)) as server:
        answer = httpx.get(f"http://127.0.0.1:{port}/live/rights", trust_env=False, timeout=20)
        assert answer.json()["phone"] == server.phone_url


def test_a_port_with_a_certificate_is_called_by_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its address is in no certificate: it is said what to do instead."""
    arguments = ["serve", "--phone", "--tls-cert", "no.pem", "--tls-key", "no.key"]
    with pytest.raises(SystemExit):
        main(arguments)
    assert "mediaserver phone --url wss://NAME:PORT/media" in capsys.readouterr().err


def test_a_log_for_machines_has_nothing_else_in_it() -> None:
    """Where the page is stands in a line of its own kind."""
    with served("--processor", "echo", "--log-format", "json") as server:
        pass
    events = {line["event"]: line for line in map(json.loads, server.lines)}
    assert events["phone"]["fields"] == {"url": server.phone_url}
    assert "ready" in events


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["phone", "--url", "http://127.0.0.1/media"], "--url must begin with ws:// or wss://"),
        (["phone", "--port", "70000"], "'70000' is no port"),
        (["phone", "--host", "192.0.2.1"], "phone: cannot listen on 192.0.2.1:8087"),
        (["serve", "--phone", "--phone-port", "x"], "'x' is no port"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "darwin", True),
        ({}, "win32", True),
    ],
)
def test_a_browser_is_opened_where_there_is_a_desktop(
    environment: dict[str, str], platform: str, *, expected: bool
) -> None:
    """Not in a terminal, where it would have no microphone."""
    assert has_desktop(environment, platform) is expected
