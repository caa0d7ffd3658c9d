"""Media comes from where the settings say, as trusted proxies tell it."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, place_call
from mediaserver.errors import ConfigurationError
from mediaserver.server.sockets.peers.sources import TELNYX_NETWORKS, Sources
from mediaserver.settings import Settings
from tests.server.conftest import Serving


@pytest.mark.parametrize(
    ("written", "address", "is_let_in"),
    [
        ((), None, True),
        ((), "203.0.113.9", True),
        (("203.0.113.0/24",), "203.0.113.9", True),
        (("203.0.113.0/24",), "203.0.114.9", False),
        (("203.0.113.0/24",), None, False),
        (("203.0.113.9",), "203.0.113.9", True),
        (("2001:db8::/32",), "2001:db8::1", True),
        (("2001:db8::/32",), "203.0.113.9", False),
        (("telnyx",), "192.76.120.130", True),
        (("Telnyx",), "103.115.244.15", True),
        (("telnyx",), "192.76.120.152", False),
        (("telnyx", "203.0.113.0/24"), "203.0.113.9", True),
    ],
)
def test_an_address_is_judged(
    written: tuple[str, ...], address: str | None, is_let_in: bool
) -> None:
    """By the networks, of which Telnyx's have a name; without any, all may come."""
    parsed = None if address is None else ipaddress.ip_address(address)
    assert Sources(written).has(parsed) is is_let_in


def test_the_networks_of_telnyx_are_those_that_were_published() -> None:
    """Eight of them, each of eight addresses."""
    found = [ipaddress.ip_network(each) for each in TELNYX_NETWORKS]
    assert [network.num_addresses for network in found] == [8] * 8
    assert {str(network)[:11] for network in found} == {"192.76.120.", "185.246.41.", "103.115.244"}


def test_what_is_no_network_is_a_wrong_setting() -> None:
    """It names the setting."""
    with pytest.raises(ConfigurationError, match=r"media_sources: .*teln1x"):
        MediaServer(Settings(media_sources=("teln1x",)))
    with pytest.raises(ConfigurationError, match=r"trusted_proxies: .*here"):
        MediaServer(Settings(trusted_proxies=("here",)))


async def upgrade(port: int, forwarded: str | None) -> int:
    """The status of an upgrade that a proxy passes on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    field = "" if forwarded is None else f"X-Forwarded-For: {forwarded}\r\n"
    writer.write(
        "GET /media HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"{field}\r\n".encode()
    )
    async with asyncio.timeout(20):
        status = int((await reader.readline()).split()[1])
    writer.transport.abort()
    return status


@pytest.mark.parametrize("workers", [1, 2])
async def test_others_get_403(serving: Serving, workers: int) -> None:
    """Also with a right token; counted."""
    async with serving(
        "echo", media_sources=("203.0.113.0/24",), trusted_proxies=(), workers=workers
    ) as server:
        report = await place_call(server.url, CallPlan(seconds=0.1))
        assert "403" in str(report.error)
        assert server.service.counters["refused_source"] == 1


async def test_those_who_are_named_come_in(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log warns of what the preset cannot know."""
    async with serving("echo", media_sources=("telnyx", "127.0.0.1"), trusted_proxies=()) as server:
        assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None
    assert caplog.text.count("Telnyx publishes none of its newer sites") == 1


async def test_a_proxy_says_whose_stream_it_is(serving: Serving) -> None:
    """A trusted one; where it does not say, the stream is refused."""
    async with serving("echo", media_sources=("192.76.120.128/29",)) as server:
        port = server.service.port
        for forwarded, status in (
            ("192.76.120.129", 101),
            ("10.0.0.1, 192.76.120.129, 127.0.0.1", 101),
            ("192.76.120.129, 203.0.113.9", 403),
            ("", 403),
            (None, 403),
        ):
            assert await upgrade(port, forwarded) == status
        assert server.service.counters["refused_source"] == 3
