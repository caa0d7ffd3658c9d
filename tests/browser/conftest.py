"""A real browser: Debian's Chromium, driven by Playwright. Only with ``BROWSER=1``.

Each test has a browser of its own, so that nothing of one is left for the next.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

with contextlib.suppress(ImportError):  # the tests say so themselves
    from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WITHIN_MS = 30_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is not asked for, or not possible here."""
    why = None
    if os.environ.get("BROWSER") != "1":
        why = "set BROWSER=1, or run `make browser`"
    elif not CHROMIUM.exists():
        why = "needs the Debian package chromium"
    for item in items:
        if why is not None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What pages complained of; a test that expects some takes it out."""
    said: list[str] = []
    yield said
    assert not said


@pytest.fixture
async def page(browser: Browser, complaints: list[str]) -> Page:
    """A page of desk size whose complaints count."""
    return await new_page(browser, complaints)


async def new_page(browser: Browser, complaints: list[str], **more: Any) -> Page:
    """A page; its errors and those of its console are added to ``complaints``."""

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type}: {message.text}")

    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **more})
    page = await context.new_page()
    page.set_default_timeout(WITHIN_MS)
    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    return page
