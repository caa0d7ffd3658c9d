"""The live page in a real browser, as an operator uses it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the Python package playwright")

from playwright.async_api import Browser, Page, Route, expect

from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.settings import ProcessorSetting
from tests.browser.conftest import new_page
from tests.browser.live import (
    ADMIN,
    BOT_HZ,
    OVERHEARD,
    TONE_HZ,
    enter,
    open_call,
    served,
    simulated,
    snapshot,
    talking,
    tone,
)
from tests.server.watching import soon

BOTS = Path(__file__).parent / "bots.py"


# How many pixels of the upper and of the lower half of a canvas are not empty.
DRAWN = """canvas => {
    const { width, height } = canvas;
    const all = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    const counts = [0, 0];
    for (let i = 0; i < width * height; i++)
        if (all[4 * i + 3]) counts[Math.floor(i / width / height * 2)]++;
    return counts;
}"""


def bot(name: str) -> ProcessorSetting:
    return ProcessorSetting(f"{BOTS}:{name}", alias=name)


async def test_only_who_has_the_token_comes_in(page: Page, complaints: list[str]) -> None:
    """The page says what it needs; a wrong token is refused, the right one is not."""
    async with served() as server:
        await page.goto(f"{server.admin_url}/live")
        await expect(page.locator("#login")).to_be_visible()
        await expect(page.locator("#main")).to_be_hidden()
        assert not complaints
        await page.fill("#token", "a guess")
        await page.press("#token", "Enter")
        await expect(page.locator("#login-error")).to_have_text("This is not the token.")
        complaints.clear()  # the browser's own line about the 401
        await page.fill("#token", ADMIN)
        await page.press("#token", "Enter")
        await expect(page.locator("#main")).to_be_visible()
        await expect(page.locator("#status")).to_have_text("Ready for calls")


async def test_150_calls(page: Page) -> None:
    """All are there, can be searched, chosen by keys and opened; few rows are drawn."""
    async with served() as server, simulated(server, 150):
        await enter(page, server)
        count = page.locator("#count")
        await expect(count).to_contain_text("150 of 150 calls", timeout=60_000)
        assert await page.locator(".row").count() < 60
        name = await page.locator(".row:not([hidden]) small").first.inner_text()
        await page.keyboard.press("/")
        await page.keyboard.type(name)
        await expect(count).to_contain_text("1 of 150 calls")
        await page.locator("#table").focus()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await expect(page.locator("#call-facts")).to_contain_text(name)
        await page.keyboard.press("Escape")
        await expect(page.locator("#call")).to_be_hidden()
        await page.select_option("#state", "on hold")
        await page.fill("#search", "")
        await expect(count).not_to_contain_text("150 of 150")
        assert await page.locator("#charts canvas").count() == 3


async def test_1000_rows(page: Page) -> None:
    """Only those that can be seen are made; the last one is found by scrolling and by search."""
    async with served() as server:

        async def stand_in(route: Route) -> None:
            await route.fulfill(body=snapshot(1000), content_type="application/octet-stream")

        await page.route("**/live/feed", stand_in)
        await enter(page, server)
        await expect(page.locator("#count")).to_have_text(
            "1000 of 1000 calls, 11 with a problem, 10 delayed"
        )
        assert await page.locator(".row").count() < 60
        first = page.locator(".row:not([hidden]) small").first
        await expect(first).to_have_text("v3:made-up-0000")  # one with a problem
        await page.locator("#scroll").evaluate("box => box.scrollTo(0, box.scrollHeight)")
        await expect(page.locator(".row", has_text="v3:made-up-0999")).to_be_visible()
        await page.check("#problems")
        await expect(page.locator("#count")).to_contain_text("11 of 1000")
        await page.locator("#scroll").evaluate("box => box.scrollTo(0, 0)")
        await expect(page.locator(".row.bad:not([hidden])")).to_have_count(11)
        await page.uncheck("#problems")
        await page.fill("#search", "0050")
        await expect(page.locator(".row.weak:not([hidden]) .mark")).to_have_text("~")
        await page.fill("#search", "cut awaited")
        await expect(page.locator(".row:not([hidden])")).to_contain_text("v3:made-up-0070")
        await page.fill("#search", "opus 0500")
        await expect(page.locator("#count")).to_contain_text("1 of 1000")


async def test_a_problem_is_said_where_there_is_little_room(page: Page) -> None:
    """On a telephone, and beside an open call, it takes the place of the call's id."""
    async with served() as server:

        async def stand_in(route: Route) -> None:
            await route.fulfill(body=snapshot(3), content_type="application/octet-stream")

        await page.route("**/live/feed", stand_in)
        await enter(page, server)
        bad = page.locator(".row.bad")
        await expect(bad.locator(".why")).to_be_hidden()
        await expect(bad.locator(".problem")).to_have_text("audio lost on the way here")
        await page.set_viewport_size({"width": 390, "height": 844})
        await expect(bad.locator(".why")).to_have_text("audio lost on the way here")
        await expect(bad.locator(".why")).to_be_visible()
        await expect(bad.locator(".problem")).to_be_hidden()
        age = await bad.locator(".num").bounding_box()
        assert age is not None
        assert age["x"] + age["width"] <= 390
        await expect(page.locator(".row:not(.bad) .why").first).to_be_hidden()


async def test_one_call_moves(page: Page, complaints: list[str]) -> None:
    """Its waveform goes on; keys and figures are there; then its end is said."""
    async with served(bot("humming")) as server:
        async with talking(server) as call:
            await enter(page, server)
            await open_call(page)
            wave = page.locator("#wave")
            pictures = set()
            for _ in range(3):
                pictures.add(await wave.evaluate("canvas => canvas.toDataURL()"))
                await asyncio.sleep(0.5)
            assert len(pictures) == 3
            await call.press("5")
            await expect(page.locator("#events li", has_text="dtmf")).to_contain_text("5")
        await expect(page.locator("#done")).to_have_text("The call is over.")
        await expect(page.locator("#listen")).to_be_disabled()


async def test_listening_in(page: Page) -> None:
    """The caller's tone is on the left and the bot's on the right, of their pitches."""
    await page.add_init_script(OVERHEARD)
    async with served(bot("humming")) as server, talking(server):
        await enter(page, server)
        await open_call(page)
        await page.click("#listen")
        near = f"""() => {{
            const [left, right] = window.pitches();
            return Math.abs(left - {TONE_HZ}) < 15 && Math.abs(right - {BOT_HZ}) < 15;
        }}"""
        await page.wait_for_function(near)
        await expect(page.locator("#heard")).to_contain_text("s behind")
        await page.click("#listen")
        await expect(page.locator("#listen")).to_have_text("Listen")
        assert server.service.counters["listens"] == 1


async def test_how_far_behind(page: Page) -> None:
    """What a caller says is heard by an operator soon; prints how soon."""
    await page.add_init_script(OVERHEARD)
    plan = CallPlan(call_control_id="v3:a")
    async with served() as server, FakeCall.connect(server.url, plan) as call:
        await enter(page, server)
        loop, silence, loud = asyncio.get_running_loop(), tone(0.02) * 0, tone(0.1)
        said: list[float] = []

        async def speak() -> None:
            began = loop.time()
            for n in range(1500):
                if n >= 200 and n % 40 == 0:
                    said.append(1000 * time.time())
                at = 160 * (n % 40)
                is_loud = n >= 200 and n % 40 < 5
                await call.send_audio(loud[at : at + 160] if is_loud else silence)
                await asyncio.sleep(max(0.0, began + 0.02 * (n + 1) - loop.time()))

        speaking = asyncio.create_task(speak())
        await open_call(page)
        await page.click("#listen")
        await page.wait_for_function("() => window.overheard !== undefined")
        await page.evaluate("window.watchOnsets()")
        await page.wait_for_function("() => window.onsets.length > 20", timeout=60_000)
        speaking.cancel()
        onsets: list[float] = await page.evaluate("window.onsets")
    behind = sorted(min(at - s for s in said if s <= at) for at in onsets)
    print(f"\nheard behind: p50 {behind[len(behind) // 2]:.0f} ms, p95 {behind[-2]:.0f} ms")
    assert behind[len(behind) // 2] < 2000


async def test_taking_part(page: Page, complaints: list[str]) -> None:
    """A text gets to the bot; it is muted, and heard again; without the right, nothing can be."""
    async with served(bot("humming")) as server, talking(server):
        await enter(page, server)
        await open_call(page)
        await page.fill("#say-text", "be brief")
        await page.press("#say-text", "Enter")
        await expect(page.locator("#done")).to_have_text("The bot was told.")
        await expect(page.locator("#events li", has_text="operator")).to_contain_text("be brief")
        await page.click("#mute")
        await expect(page.locator("#mute")).to_have_text("Let the bot be heard")
        await page.click("#mute")
        await expect(page.locator("#mute")).to_have_text("Mute the bot")
        page.on("dialog", lambda dialog: dialog.accept())
        await page.click("#hangup")
        await expect(page.locator("#done")).to_contain_text("needs a Telnyx API key")
        complaints.clear()  # the browser's own line about the 501


async def test_who_may_not_listen(page: Page) -> None:
    """Sees the call, and cannot press what needs the right."""
    async with served() as server, talking(server):
        await enter(page, server, ADMIN)
        await open_call(page)
        for button in ("#listen", "#mute"):
            await expect(page.locator(button)).to_be_disabled()


async def test_a_slow_browser_harms_no_call(page: Page) -> None:
    """One that reads a tenth of what is sent: the call's audio comes back as ever."""
    async with served() as server, talking(server) as call:
        await enter(page, server)
        await open_call(page)
        session = await page.context.new_cdp_session(page)
        await session.send("Network.enable")
        slow = {"offline": False, "latency": 300, "uploadThroughput": -1}
        await session.send("Network.emulateNetworkConditions", {**slow, "downloadThroughput": 2000})
        await page.click("#listen")
        n_before = len(call.received)
        await asyncio.sleep(3)
        await call.wait_until(lambda: len(call.received) - n_before >= 140, 30)
        assert server.service.counters["refused"] == 0


async def test_a_crash_shows_up(page: Page, complaints: list[str]) -> None:
    """The call is marked, says what is wrong, and is found by it."""
    async with served(bot("breaking"), on_error="bypass") as server, talking(server):
        await enter(page, server)
        await page.check("#problems")
        await expect(page.locator("#count")).to_contain_text("1 of 1 calls, 1 with a problem")
        row = page.locator(".row:not([hidden])")
        await expect(row).to_contain_text("a processor failed")
        await row.click()
        await expect(page.locator("#call-trouble")).to_contain_text("a processor failed")


async def test_a_small_screen(browser: Browser, complaints: list[str]) -> None:
    """Nothing is wider than a telephone's screen, and a call can be opened and closed."""
    page = await new_page(
        browser, complaints, viewport={"width": 390, "height": 844}, color_scheme="dark"
    )
    async with served() as server, talking(server):
        await enter(page, server)
        await expect(page.locator("#count")).to_contain_text("1 of 1")
        width = "document.scrollingElement.scrollWidth"
        assert await page.evaluate(width) <= 390
        await open_call(page)
        assert await page.evaluate(width) <= 390
        await page.click("#call-close")
        await expect(page.locator("#table")).to_be_visible()
        back = "getComputedStyle(document.body).backgroundColor"
        assert await page.evaluate(back) == "rgb(20, 24, 23)"


async def test_the_recording_of_an_ended_call(page: Page, tmp_path: Path) -> None:
    """Is drawn, both sides of it, and plays; it is fetched when it is opened, not before."""
    record = ProcessorSetting("record", {"directory": str(tmp_path)})
    async with served(record, bot("humming"), history=str(tmp_path / "c.db")) as server:
        async with talking(server) as call:
            await call.wait_until(lambda: len(call.received) > 20)
        await soon(lambda: server.service.n_calls == 0)
        await enter(page, server)
        await page.click("#to-ended")
        listen = page.locator("#ended-rows button.listen")
        async with asyncio.timeout(20):
            while not await listen.count():
                await page.click("#ended-again")
                await page.wait_for_timeout(200)
        assert server.service.counters["recordings_fetched"] == 0
        await listen.click()
        player = page.locator(".player")
        await expect(player.locator("canvas")).to_be_visible()
        assert await player.locator("p").inner_text() == "v3_a.wav"
        upper, lower = await player.locator("canvas").evaluate(DRAWN)
        assert min(upper, lower) > 5000  # a line of silence has some 1,300
        audio = player.locator("audio")
        await audio.evaluate("audio => audio.play()")
        now = "() => document.querySelector('.player audio').currentTime"
        await page.wait_for_function(f"{now} > 0.3")
        assert await audio.evaluate("audio => audio.duration") > 1.5
        await audio.evaluate("audio => audio.pause()")
        await player.locator("canvas").click(position={"x": 2, "y": 20})
        await page.wait_for_function(f"{now} < 0.2")
        await page.set_viewport_size({"width": 390, "height": 844})
        assert await page.evaluate("document.scrollingElement.scrollWidth") <= 390
        assert await player.evaluate("player => player.clientWidth") < 390
        await listen.click()
        await expect(player).to_have_count(0)
        assert server.service.counters["recordings_fetched"] == 1


async def test_recordings_that_cannot_be_heard(
    page: Page, complaints: list[str], tmp_path: Path
) -> None:
    """A file that is gone is said; who has not the right cannot ask for one."""
    record = ProcessorSetting("record", {"directory": str(tmp_path)})
    async with served(record, history=str(tmp_path / "c.db")) as server:
        async with talking(server):
            await soon(lambda: server.service.n_calls == 1)
        await soon(lambda: server.service.n_calls == 0)
        await enter(page, server)
        await page.click("#to-ended")
        listen = page.locator("#ended-rows button.listen")
        async with asyncio.timeout(20):
            while not await listen.count():
                await page.click("#ended-again")
                await page.wait_for_timeout(200)
        (tmp_path / "v3_a.wav").unlink()
        await listen.click()
        await expect(page.locator(".player p")).to_contain_text("is not there: No such file")
        await expect(page.locator(".player audio")).to_be_hidden()
        complaints.clear()  # the browser's own line about the 404
        await page.click("#sign-out")
        await page.fill("#token", ADMIN)
        await page.press("#token", "Enter")
        await expect(listen).to_be_disabled()


async def test_the_way_to_the_phone(page: Page) -> None:
    """Is there where the server has one."""
    async with served() as server:
        await enter(page, server)
        await expect(page.locator("#main")).to_be_visible()
        await expect(page.locator("#to-phone")).to_be_hidden()
        server.show_phone("http://127.0.0.1:8087/phone/")
        await page.reload()
        link = page.get_by_role("link", name="Phone")
        await expect(link).to_have_attribute("href", "http://127.0.0.1:8087/phone/")


async def test_a_server_that_comes_back(page: Page, complaints: list[str], tmp_path: Path) -> None:
    """Ended calls are shown, bad ones first; a lost server is said."""
    async with served(history=str(tmp_path / "c.db")) as server:
        async with talking(server, "v3:good"):
            await soon(lambda: server.service.n_calls == 1)
        async with talking(server, "v3:bad") as call:
            await call.wait_until(lambda: len(call.received) > 0)
            call.cut()
        await soon(lambda: server.service.n_calls == 0)
        await enter(page, server)
        await page.click("#to-ended")
        rows = page.locator("#ended-rows tr")

        async with asyncio.timeout(20):
            while await rows.count() < 2:
                await page.click("#ended-again")
                await page.wait_for_timeout(200)
        await expect(rows.first).to_contain_text("v3:bad")
        await expect(rows.first).to_contain_text("its socket was cut")
        await page.fill("#ended-search", "ended normally")
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("v3:good")
        await page.fill("#ended-search", "nowhere")
        await expect(page.locator("#ended-count")).to_have_text("0 of 2 calls")
        await page.fill("#ended-search", "")
        await expect(rows).to_have_count(2)
        details = rows.first.get_by_role("button", name="Details")
        await details.click()
        await expect(page.locator("#ended-rows dl")).to_contain_text("frames in")
        await details.click()
        await expect(rows).to_have_count(2)
    await expect(page.locator("#status")).to_contain_text("lost", timeout=20_000)
    complaints.clear()  # the browser's own lines about a server that is gone
