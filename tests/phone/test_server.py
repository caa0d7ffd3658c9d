"""The phone's page, its calls and a real media server; the page is one in Python."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mediaserver import Call, Dtmf, MediaServer, Settings, processor
from mediaserver.carrier.plan import at_rate, speech
from mediaserver.errors import ConfigurationError
from mediaserver.monitor.static import POLICY
from mediaserver.phone import PhoneServer
from mediaserver.phone.desk import MAX_REFUSED, formats
from mediaserver.phone.server import MAX_PAGES
from mediaserver.settings import ProcessorSetting
from tests.phone.pages import RATE_HZ, WITHIN_S, opened


@processor
async def menu(call: Call) -> None:
    """Says a word, then speaks for long; 1 cuts it off, 0 ends the call."""
    await call.play(np.full(800, 8000, np.int16), 8000)
    await call.mark("one word")
    await call.play(np.full(8000 * 20, 8000, np.int16), 8000)
    async for event in call.events():
        if isinstance(event, Dtmf) and event.digit == "1":
            await call.clear()
        elif isinstance(event, Dtmf):
            await call.hangup()


def counting(lost: list[int]) -> Callable[..., Any]:
    """An echo that writes down, frame by frame, how many chunks the server has missed."""

    @processor
    async def count(call: Call) -> None:
        async for frame in call.frames():
            lost.append(call.stats.lost)
            await call.play(frame.samples, frame.rate, live=True)

    return count


@asynccontextmanager
async def phone_to(
    bot: str | Callable[..., Any] = "echo", **settings: Any
) -> AsyncIterator[tuple[PhoneServer, MediaServer]]:
    """A media server with this bot, and a phone that calls it."""
    chain = (ProcessorSetting(bot),)
    token = settings.get("auth_token")
    async with MediaServer(Settings(port=0, processors=chain, **settings)) as server:
        async with PhoneServer(server.url, token=token, port=0) as phone:
            yield phone, server


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not check():  # noqa: ASYNC110 (a server has no event for each count)
            await asyncio.sleep(0.01)


def port_of(phone: PhoneServer) -> int:
    port = urlsplit(phone.url).port
    assert port is not None
    return port


def loudest(samples: np.ndarray[Any, Any]) -> int:
    return int(np.abs(samples.astype(int)).max(initial=0))


async def test_a_clip_is_heard_again_through_an_echo() -> None:
    """Through the real media endpoint; how long it takes is measured, and frames are counted."""
    async with phone_to() as (phone, server), opened(phone) as page:
        told = await page.call(source="clip")
        assert (told["codec"], told["rate_hz"]) == ("PCMU", 8000)
        await page.until(lambda: page.figures.get("echo_s") is not None)
        assert server.service.n_calls == 1
        assert loudest(page.heard) > 5000
        await page.do("hang_up")
        await page.until(lambda: bool(page.of("ended")))
        assert page.of("ended") == [{"event": "ended", "number": 1, "why": "hung up"}]
        figures = page.figures
        assert figures["sent"] > 40
        assert 0 < figures["heard_s"] <= figures["returned_s"]
        assert (figures["lost"], figures["errors"], figures["clip"]) == (0, 0, True)
        await until(lambda: server.service.n_calls == 0)


@pytest.mark.parametrize(("codec", "rate_hz"), formats())
async def test_the_microphone_is_heard_in_every_codec(codec: str, rate_hz: int) -> None:
    """What the page says at 48 kHz comes back at 48 kHz, as loud as it was."""
    said = at_rate(speech(), RATE_HZ)
    async with phone_to() as (phone, _), opened(phone) as page:
        await page.call(codec=codec, rate_hz=rate_hz)
        for at in range(0, RATE_HZ, 960):
            await page.socket.send(said[at : at + 960].astype("<i2").tobytes())
            await asyncio.sleep(0.01)
        await page.until(lambda: loudest(page.heard) > 3000)


async def test_keys_cut_off_and_end() -> None:
    """A key reaches the bot; the ledger has it, the mark, the clear; the end has its reason."""
    async with phone_to(menu) as (phone, _), opened(phone) as page:
        await page.call(source="clip")
        await page.until(lambda: page.figures.get("heard_s", 0) > 0.3)
        assert page.figures["queued_s"] > 0
        await page.do("press", key="1")
        await page.until(lambda: bool(page.entries("clear") and page.entries("heard")))
        assert page.figures["clears"] == 1
        assert page.figures["unheard_s"] > 0
        await page.do("press", key="0")
        await page.until(lambda: bool(page.of("ended")))
        assert page.of("ended")[0]["why"].startswith("ended by the server, code 1000")
        assert [e["text"] for e in page.entries("key")] == ["1", "0"]
        assert page.entries("mark")[0]["at_s"] >= 0.1


async def test_what_is_lost_is_lost_for_the_server() -> None:
    """The slider moves during the call; the server misses what the phone has lost."""
    missed: list[int] = []
    async with phone_to(counting(missed)) as (phone, _), opened(phone) as page:
        await page.call(source="clip")
        await page.do("change", loss=0.5, jitter_ms=30)
        await page.until(lambda: page.figures.get("lost", 0) > 20)
        await page.do("change", loss=0, jitter_ms=0)
        n_sent = page.figures["sent"]
        await page.until(lambda: page.figures["sent"] > n_sent + 40)
        await until(lambda: missed[-1] == page.figures["lost"])


async def test_another_codec_is_another_call() -> None:
    """The one that is up ends, and what is told names the call that it is of."""
    async with phone_to() as (phone, server), opened(phone) as page:
        first = await page.call(source="clip")
        second = await page.call(source="clip", codec="PCMA", rate_hz=8000)
        assert (second["number"], second["codec"]) == (2, "PCMA")
        assert first["id"] != second["id"]
        assert page.of("ended") == [{"event": "ended", "number": 1, "why": "hung up"}]
        await until(lambda: server.service.n_calls == 1)


async def test_a_call_ends_when_its_page_goes_and_no_other() -> None:
    """Two pages have a call each; one is closed without a word."""
    async with phone_to() as (phone, server), opened(phone) as stays:
        async with opened(phone) as goes:
            await goes.call(source="clip")
            await stays.call(source="clip")
            assert server.service.n_calls == 2
            goes.socket.transport.abort()
        await until(lambda: server.service.n_calls == 1)
        n_blocks = len(stays.blocks)
        await stays.until(lambda: len(stays.blocks) > n_blocks + 5)
        assert not stays.of("ended")


async def test_a_phone_that_ends_hangs_up() -> None:
    """Its pages are told that it goes."""
    async with phone_to() as (phone, server), opened(phone) as page:
        await page.call(source="clip")
        await phone.close()
        await until(lambda: server.service.n_calls == 0)
        await page.until(lambda: page.socket.close_code == 1001)


async def test_garbage_is_refused_and_harms_nothing() -> None:
    """Each is answered; the call goes on; a page that does nothing else is closed."""
    async with phone_to() as (phone, _), opened(phone) as page:
        await page.do("press", key="1")
        await page.do("change", loss=0.5)
        await page.socket.send(b"\x00\x00")
        await page.call(source="clip")
        for garbage in ("", "{", '{"do":"fly"}', '{"do":"press","key":"55"}', b"\x01"):
            await page.socket.send(garbage)
        await page.do("change", source="microphone")
        await page.socket.send(b"")
        await page.until(lambda: len(page.of("refused")) == 7)
        assert page.of("refused")[0]["why"] == "there is no call"
        assert page.of("refused")[-1]["why"] == "audio is 16 bits a sample"
        n_sent = page.figures.get("sent", 0)
        await page.until(lambda: page.figures.get("sent", 0) > n_sent)
        for _ in range(MAX_REFUSED):
            await page.socket.send("{")
        await page.until(lambda: page.socket.close_code == 1008)


async def test_a_message_of_a_megabyte_closes_the_page() -> None:
    """It is not read."""
    async with phone_to() as (phone, _), opened(phone) as page:
        await page.socket.send(b"\x00" * 1_000_000)
        await page.until(lambda: page.socket.close_code == 1009)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"codec": "MP3"}, "no call in MP3"),
        ({"codec": "GSM"}, "GSM"),
        ({"codec": "OPUS", "rate_hz": 24_000}, "no call in OPUS at 24000 Hz is placed here"),
        ({"codec": "L16", "rate_hz": 48_000}, "no call in L16 at 48000 Hz is placed here"),
        ({"page_rate_hz": 96_000}, "cannot resample 96000 Hz"),
        ({"page_rate_hz": 0}, "cannot resample 0 Hz"),
    ],
)
async def test_a_call_that_cannot_be_placed_ends_with_the_reason(
    fields: dict[str, Any], why: str
) -> None:
    """And the next one is placed."""
    async with phone_to() as (phone, _), opened(phone) as page:
        await page.do("call", number=7, **{"page_rate_hz": RATE_HZ, **fields})
        await page.until(lambda: bool(page.of("ended")))
        assert page.of("ended")[0]["number"] == 7
        assert why in page.of("ended")[0]["why"]
        await page.call(source="clip")


async def test_a_server_that_is_not_there_is_said_so() -> None:
    """In one line, and the page can try again."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"ws://127.0.0.1:{nobody.getsockname()[1]}/media"
    async with PhoneServer(url, port=0) as phone, opened(phone) as page:
        for n in (1, 2):
            await page.do("call", number=n, page_rate_hz=RATE_HZ)
            await page.until(lambda n=n: len(page.of("ended")) == n)
            assert page.of("ended")[-1]["why"].startswith("no connection: ")


async def test_a_server_that_never_answers_holds_nobody() -> None:
    """Hanging up gives the connection up at once; so does a page that goes."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"ws://127.0.0.1:{mute.getsockname()[1]}/media"
        async with PhoneServer(url, port=0) as phone, opened(phone) as page:
            await page.do("call", page_rate_hz=RATE_HZ)
            await page.do("hang_up")
            await page.until(lambda: bool(page.of("ended")))
            assert page.of("ended")[0]["why"] == "given up"
            await page.do("call", page_rate_hz=RATE_HZ)


async def test_a_server_that_reads_no_more_is_left() -> None:
    """Hanging up does not wait for its goodbye."""

    is_over = asyncio.Event()

    async def stand_still(call: ServerConnection) -> None:
        call.transport.pause_reading()
        await is_over.wait()
        call.transport.abort()

    async with serve(stand_still, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/media"
        async with PhoneServer(url, port=0) as phone, opened(phone) as page:
            await page.call(source="clip")
            await page.do("press", key="1")
            await page.do("hang_up")
            await page.until(lambda: bool(page.of("ended")))
            assert page.of("ended")[0]["why"] == "hung up"
            await page.do("call", number=2, page_rate_hz=RATE_HZ)
            await page.until(lambda: len(page.of("call")) == 2)
            is_over.set()


async def test_the_servers_token_is_presented() -> None:
    """A wrong one is told; the right one is shown nowhere."""
    token = "canary-of-the-phone"
    async with phone_to(auth_token=token) as (phone, server):
        async with opened(phone) as page:
            await page.call(source="clip")
            assert token not in str(page.told) + phone.url
        async with PhoneServer(server.url, token="other", port=0) as wrong:
            async with opened(wrong) as page:
                await page.do("call", page_rate_hz=RATE_HZ)
                await page.until(lambda: bool(page.of("ended")))
                assert "401" in page.of("ended")[0]["why"] or "403" in page.of("ended")[0]["why"]


async def test_a_page_that_does_not_read_harms_nobody() -> None:
    """Its audio is thrown away; the call goes on."""
    async with phone_to() as (phone, server), opened(phone) as good:
        async with opened(phone, max_queue=1) as page:
            await page.call(source="clip")
            page.socket.transport.pause_reading()
            await good.call(source="clip")
            n_sent = good.figures.get("sent", 0)
            await good.until(lambda: good.figures.get("sent", 0) > n_sent + 100)
            assert server.service.n_calls == 2
            page.socket.transport.resume_reading()


async def test_there_are_only_so_many_pages() -> None:
    """One more is told so; when one has gone, there is room."""
    async with PhoneServer("ws://127.0.0.1:9/media", port=0) as phone:
        pages = [opened(phone) for _ in range(MAX_PAGES)]
        for page in pages:
            await page.__aenter__()
        try:
            async with opened(phone) as more:
                await more.until(lambda: more.socket.close_code == 1013)
        finally:
            for page in pages:
                await page.__aexit__(None, None, None)
        async with opened(phone) as page:
            await page.until(lambda: bool(page.of("ready")))


async def test_the_files_are_there_for_a_browser() -> None:
    """With the policy of all pages; the root leads to them; nothing else is there."""
    async with PhoneServer("ws://127.0.0.1:9/media", port=0) as phone:
        root = phone.url.removesuffix("/phone/")
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as client:
            for path in ("/", "/phone", "/phone/", "/phone/index.html"):
                page = await client.get(root + path)
                assert page.headers["content-security-policy"] == POLICY
                assert "<title>Phone" in page.text
            for name in ("phone.js", "wave.js", "audio.js", "phone.css"):
                file = await client.get(f"{phone.url}{name}")
                assert file.status_code == 200
                assert file.headers["x-content-type-options"] == "nosniff"
                again = await client.get(file.url, headers={"If-None-Match": file.headers["etag"]})
                assert again.status_code == 304
            for path in ("/phone/../server.py", "/phone/%2e%2e/server.py", "/x", "/phone/\xff"):
                assert (await client.get(root + path)).status_code == 404
            assert (await client.get(f"{phone.url}call")).status_code == 426


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", None),
        ("null", None),
        ("http://127.0.0.1:1", None),
        ("http://evil.example:99", "evil.example:99"),  # its name was made to lead here
    ],
)
async def test_pages_of_other_sites_do_not_get_in(origin: str, host: str | None) -> None:
    """A browser on this machine lets their scripts try."""
    async with PhoneServer("ws://127.0.0.1:9/media", port=0) as phone:
        fields = {"Origin": origin} | ({"Host": host} if host else {})
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(phone))
        head = {"Upgrade": "websocket", "Connection": "Upgrade", "Host": "127.0.0.1"}
        head |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in (head | fields).items())
        writer.write(f"GET /phone/call HTTP/1.1\r\n{lines}\r\n".encode())
        async with asyncio.timeout(WITHIN_S):
            assert b" 403 " in await reader.readline()
        writer.close()
        own = phone.url.removesuffix("/phone/")
        async with opened(phone, origin=own) as page:
            await page.until(lambda: bool(page.of("ready")))


async def test_where_others_can_come_a_token_is_needed() -> None:
    """It is in the address that is shown; without it, or with another one, nobody gets in."""
    async with PhoneServer("ws://127.0.0.1:9/media", host="0.0.0.0", port=0) as phone:
        url, _, token = phone.url.partition("#")
        assert len(token) > 20
        async with opened(phone) as page:
            await page.until(lambda: bool(page.of("ready")))
        for wrong in ("", "#x", "#%C3%A4"):
            with pytest.raises(InvalidStatus) as refused:
                async with opened(_With(url + wrong)):
                    pass
            assert refused.value.response.status_code == 401


class _With(PhoneServer):
    """Has only an address."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        return self._url


async def test_an_address_that_cannot_be_had_is_one_line() -> None:
    """A patient phone waits for its port, and listens once it is free."""
    async with PhoneServer("ws://127.0.0.1:9/media", port=0) as first:
        port = port_of(first)
        with pytest.raises(ConfigurationError, match=f"phone: cannot listen on 127.0.0.1:{port}"):
            await PhoneServer("", port=port).__aenter__()
        second = PhoneServer("ws://127.0.0.1:9/media", port=port, patient=True)
        await second.__aenter__()
        try:
            assert second.url == first.url
            await first.close()
            await _until_open(second)
        finally:
            await second.close()
    waits = PhoneServer("", port=0)
    await waits.close()


async def _until_open(phone: PhoneServer) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                async with opened(phone) as page:
                    await page.until(lambda: bool(page.of("ready")))
                    return
            except (OSError, ConnectionClosed):
                await asyncio.sleep(0.05)
