"""A server with live calls, and an operator at its page."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from playwright.async_api import Page, expect

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.media.frames import Int16Array
from mediaserver.settings import ProcessorSetting, Settings

ADMIN, LISTENER = "admin-canary-41", "listener-canary-41"
TONE_HZ, BOT_HZ = 1000, 600


@asynccontextmanager
async def served(*processors: ProcessorSetting, **more: Any) -> AsyncIterator[MediaServer]:
    chain = processors or (ProcessorSetting("echo"),)
    tokens = {"admin_token": ADMIN, "listen_token": LISTENER}
    given = Settings(port=0, processors=chain, reconnect_grace_s=0, **{**tokens, **more})
    async with MediaServer(given) as server:
        yield server


async def enter(page: Page, server: MediaServer, token: str = LISTENER) -> None:
    """Open the page with a token, as an operator does."""
    await page.goto(f"{server.admin_url}/live")
    await page.fill("#token", token)
    await page.press("#token", "Enter")


def tone(seconds: float, hz: float = TONE_HZ, rate_hz: int = 8000) -> Int16Array:
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    return (8000 * np.sin(2 * np.pi * hz * at)).astype(np.int16)


@asynccontextmanager
async def talking(server: MediaServer, call_id: str = "v3:a") -> AsyncIterator[FakeCall]:
    """A call whose caller hums ``TONE_HZ`` without an end."""
    async with FakeCall.connect(server.url, CallPlan(call_control_id=call_id)) as call:
        task = asyncio.create_task(hum(call))
        try:
            yield call
        finally:
            task.cancel()


async def hum(call: FakeCall) -> None:
    loop, whole, n = asyncio.get_running_loop(), tone(1.0), 0
    began = loop.time()
    while True:
        at = 160 * (n % 50)
        await call.send_audio(whole[at : at + 160])
        n += 1
        await asyncio.sleep(max(0.0, began + 0.02 * n - loop.time()))


@asynccontextmanager
async def simulated(server: MediaServer, n_calls: int) -> AsyncIterator[None]:
    """Calls from another process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mediaserver", "simulate", "--url", server.url),
        *("--calls", str(n_calls), "--seconds", "60"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def snapshot(n_rows: int) -> bytes:
    """A feed with a table of so many calls, and their levels."""
    rows = [
        [
            *(-1,),
            [
                *(n, f"v3:made-up-{n:04d}", f"…{n % 100:02d}", "…56", 10.0 + n, "PCMU", "OPUS"),
                *("echo", "reconnecting" if n == 70 else "listening"),
                ["blocked"] if n % 100 == 50 else [],
                *(["loss"] if n % 100 == 0 else [], 0, False),
            ],
        ]
        for n in range(n_rows)
    ]
    table = json.dumps({"type": "table", "rows": rows}).encode()
    levels = struct.pack("!iI", -1, n_rows)
    levels += b"".join(struct.pack("!IBB", n, 100, 200) for n in range(n_rows))
    parts = ((1, table), (2, levels))
    return b"".join(struct.pack("!IB", len(body), kind) + body for kind, body in parts)


async def open_call(page: Page, call_id: str = "v3:a") -> None:
    """Choose a call in the table."""
    await page.locator(".row", has_text=call_id).first.click()
    await expect(page.locator("#call")).to_be_visible()
    await expect(page.locator("#figures")).to_contain_text("frames in")


# What goes to the loudspeaker goes through an analyser of each channel as well.
OVERHEARD = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...more) {
  if (target instanceof AudioDestinationNode) {
    const split = this.context.createChannelSplitter(2);
    connect.call(this, split);
    window.overheard = [0, 1].map((side) => {
      const analyser = this.context.createAnalyser();
      analyser.fftSize = 4096;
      connect.call(split, analyser, side);
      return analyser;
    });
  }
  return connect.call(this, target, ...more);
};
window.pitches = () => (window.overheard || []).map((analyser) => {
  const bins = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(bins);
  const best = bins.indexOf(Math.max(...bins));
  return bins[best] > -60 ? (best * analyser.context.sampleRate) / analyser.fftSize : 0;
});
// When the left channel became loud, in milliseconds since 1970.
window.onsets = [];
window.watchOnsets = () => {
  const analyser = window.overheard[0];
  analyser.fftSize = 256;
  const samples = new Float32Array(256);
  let isLoud = false;
  setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const peak = Math.max(...samples.map(Math.abs));
    if (peak > 0.05 && !isLoud) window.onsets.push(performance.timeOrigin + performance.now());
    isLoud = peak > (isLoud ? 0.01 : 0.05);
  }, 4);
};
"""
