"""The phone in Debian's Chromium, whose microphone hears a file."""

from __future__ import annotations

import contextlib
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.phone.serving import WITHIN_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --autoplay-policy=no-user-gesture-required --use-fake-ui-for-media-stream"
    " --use-fake-device-for-media-stream --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
)
TONE_HZ = 1000
# Beside the loudspeaker, the page's sound goes to an analyser that the test can look at.
TAP = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...more) {
  if (to instanceof AudioDestinationNode) {
    const tap = new AnalyserNode(this.context, { fftSize: 2048, smoothingTimeConstant: 0 });
    connect.call(this, tap);
    window.heardNow = () => {
      const levels = new Float32Array(tap.frequencyBinCount);
      tap.getFloatFrequencyData(levels);
      const at = levels.indexOf(Math.max(...levels));
      return [(at * tap.context.sampleRate) / tap.fftSize, levels[at]];
    };
  }
  return connect.call(this, to, ...more);
};
"""
NO_MICROPHONE = """
navigator.mediaDevices.getUserMedia = () =>
  Promise.reject(new DOMException("none", "NotFoundError"));
"""


def write_tone(path: Path) -> None:
    """A tone that comes and goes, so that a delay can be told: 0.7 s, then 0.5 s of silence."""
    at = np.arange(48_000 * 12 // 10) / 48_000
    samples = 12_000 * np.sin(2 * np.pi * TONE_HZ * at) * (at < 0.7)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(samples.astype("<i2").tobytes())


@contextlib.contextmanager
def chromium(microphone: Path) -> Iterator[Browser]:
    """A browser whose microphone hears this file again and again."""
    from playwright.sync_api import sync_playwright

    args = [*FLAGS.split(), f"--use-file-for-fake-audio-capture={microphone}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=args)
        try:
            yield browser
        finally:
            browser.close()


class Phone:
    """The page, opened.

    Attributes:
        page: of Playwright.
        troubles: errors in the page and its console.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        width: int = 1280,
        scheme: str = "light",
        more: str = "",
    ) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        self.page: Page = context.new_page()
        self.page.set_default_timeout(1000 * WITHIN_S)
        self.troubles: list[str] = []
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.add_init_script(TAP + more)
        self.page.goto(url)

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.troubles.append(text)

    def press(self, name: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def status(self, text: str) -> None:
        """Wait until this is said."""
        self.page.wait_for_function(
            "text => document.getElementById('status').textContent.includes(text)", arg=text
        )

    def figure(self, name: str, check: str) -> str:
        """Wait until a figure fits a JavaScript expression of its text ``t``; the text."""
        self.page.wait_for_function(
            f"id => {{ const t = document.getElementById(id).textContent; return {check}; }}",
            arg=f"f-{name}",
        )
        return self.page.inner_text(f"#f-{name}")

    def hears(self, hz: float | None = None) -> None:
        """Wait until the loudspeaker gives sound; of this frequency, if one is given."""
        self.page.wait_for_function(
            "hz => { const [at, level] = window.heardNow?.() ?? [0, -200];"
            " return level > -50 && (hz === null || Math.abs(at - hz) < 30); }",
            arg=hz,
            polling=20,
        )

    def entries(self) -> list[list[str]]:
        """The rows of the ledger, newest first."""
        rows: list[list[str]] = self.page.eval_on_selector_all(
            "#entries tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        return rows

    def close(self) -> None:
        """Close it; there was no trouble."""
        self.page.context.close()
        assert self.troubles == []
