"""The phone in a real browser; needs BROWSER=1 and Debian's chromium."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.phone_page import (
    CHROMIUM,
    NO_MICROPHONE,
    TONE_HZ,
    Phone,
    chromium,
    write_tone,
)
from tests.phone.serving import served
from tests.ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [
    pytest.mark.skipif(os.environ.get("BROWSER") != "1", reason="BROWSER=1 runs it"),
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="there is no chromium"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests; its microphone hears a tone that comes and goes."""
    tone = tmp_path_factory.mktemp("browser") / "tone.wav"
    write_tone(tone)
    with chromium(tone) as browser:
        yield browser


def test_from_the_command_to_hearing_oneself(browser: Browser) -> None:
    """``serve --processor echo --phone``, one press: the tone comes out of the loudspeaker."""
    with served("--processor", "echo") as server:
        phone = Phone(browser, server.phone_url)
        phone.press("Call")
        phone.hears(TONE_HZ)
        print(f"\nheard oneself {time.monotonic() - server.began_s:.1f} s after the start")
        delay = phone.figure("echo", "t.endsWith('ms')")
        line = phone.figure("line", "t.endsWith('ms')")
        print(f"mouth to ear {delay}, of it {line} on the line")
        assert 0 < int(delay.split()[0]) < 1500
        phone.status("PCMU at 8 kHz")
        phone.press("Hang up")
        phone.status("you hung up")
        server.wait_for(r"(call \S+ ended: reason stop)")
        phone.close()


def test_keys_loss_and_codec(browser: Browser) -> None:
    """Keys by mouse and keyboard, the sliders, another codec: all reach the call."""
    with served("--processor", "echo") as server:
        phone = Phone(browser, server.phone_url)
        phone.page.select_option("#codec", "G722 16000")
        phone.press("Call")
        phone.status("G722 at 16 kHz")
        phone.press("5")
        phone.press("hash")
        phone.page.keyboard.press("9")
        phone.page.wait_for_function(
            "() => [...document.querySelectorAll('#entries tr')]"
            ".filter(row => row.cells[1].textContent === 'key').length === 3"
        )
        keys = [row[2] for row in phone.entries() if row[1] == "key"]
        assert keys == ["9", "#", "5"]
        phone.page.fill("#loss", "50")
        phone.page.fill("#jitter", "40")
        assert phone.page.inner_text("#loss-value") == "50 %"
        phone.figure("lost", "Number(t) > 5")
        phone.page.fill("#loss", "0")
        phone.page.select_option("#codec", "L16 16000")
        phone.status("L16 at 16 kHz")
        phone.hears(TONE_HZ)
        server.wait_for(r"(codecs G722 in, G722 out)")
        phone.close()


def test_without_a_microphone_a_clip_plays(browser: Browser) -> None:
    """It is said why, and the speech comes back."""
    with served("--processor", "echo") as server:
        phone = Phone(browser, server.phone_url, more=NO_MICROPHONE)
        phone.press("Call")
        phone.hears()
        note = phone.page.inner_text("#microphone")
        assert note == "There is no microphone. A clip of speech plays instead."
        phone.figure("echo", "t.endsWith('ms')")
        phone.close()


def test_mute_is_silence(browser: Browser) -> None:
    """What is said then is heard by nobody; the call goes on."""
    with served("--processor", "echo") as server:
        phone = Phone(browser, server.phone_url)
        phone.press("Call")
        phone.hears(TONE_HZ)
        phone.press("Mute")
        phone.figure("echo", "t === '–'")
        phone.press("Mute")
        phone.hears(TONE_HZ)
        phone.close()


def test_a_server_that_goes_and_comes_back(browser: Browser) -> None:
    """The page says so, tries again, and can call again without being loaded anew."""
    port = free_port()
    with served("--processor", "echo", phone_port=port) as server:
        phone = Phone(browser, server.phone_url)
        phone.press("Call")
        phone.hears(TONE_HZ)
    phone.status("tries again")
    with served("--processor", "echo", phone_port=port):
        phone.status("Press Call")
        phone.press("Call")
        phone.hears(TONE_HZ)
        phone.troubles.clear()  # the browser reports each connection that failed
        phone.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_shows_all(browser: Browser, scheme: str) -> None:
    """At 390 pixels nothing is cut off, and nothing moves while nothing happens."""
    with served("--processor", "echo") as server:
        phone = Phone(browser, server.phone_url, width=390, scheme=scheme)
        phone.status("Press Call")
        assert phone.page.evaluate("document.documentElement.scrollWidth") == 390
        before = phone.page.screenshot(full_page=True)
        assert phone.page.screenshot(full_page=True) == before
        # Each control has a name, and can be reached by the keyboard.
        reached = set()
        for _ in range(10):
            phone.page.keyboard.press("Tab")
            reached.add(phone.page.evaluate("document.activeElement.id"))
        assert {"place", "codec", "source", "cancel", "loss", "jitter", "scroll"} <= reached
        phone.close()
