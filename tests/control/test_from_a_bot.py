"""``call.control``: a bot commands its call, wherever it runs, and all is alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediaserver.carrier import CallPlan, place_call
from mediaserver.carrier.rest.faults import RestFault
from mediaserver.carrier.rest.habits import Habits
from mediaserver.server.workers.service import MultiProcessService
from mediaserver.settings import ProcessorSetting
from tests.control.test_end_to_end import World, world
from tests.server.conftest import Serving, serving
from tests.server.watching import soon

__all__ = ["serving"]

BOTS = Path(__file__).with_name("commandbots.py")
ways = pytest.mark.parametrize(
    ("workers", "isolate"),
    [(1, False), (2, False), (1, True), (2, True)],
    ids=["inline", "in a worker", "isolated", "isolated in a worker"],
)


def bot(name: str, directory: Path) -> ProcessorSetting:
    return ProcessorSetting(f"{BOTS}:{name}", {"directory": str(directory)})


def notes_of(directory: Path) -> list[str]:
    """What the only call's bot has written."""
    return [line for file in directory.iterdir() for line in file.read_text().splitlines()]


async def written(directory: Path, n: int | None = None) -> list[str]:
    """All that the bot writes, or its first lines."""

    def is_there() -> bool:
        lines = notes_of(directory)
        return lines[-1:] == ["over"] if n is None else len(lines) >= n

    await soon(is_there, 60)
    return notes_of(directory)


async def streamed(w: World) -> str:
    w.fake._habits = Habits(answer_after_s=0.0, s_per_character=0.01)
    call = await w.dialled()
    await w.actions.start_streaming(call)
    await w.until_event("streaming.started")
    return call


@ways
async def test_a_bot_commands_its_call(tmp_path: Path, workers: int, isolate: bool) -> None:
    """Each command reaches Telnyx, and what becomes of it the bot's events, typed."""
    async with world(bot("story", tmp_path), workers=workers, isolate=isolate) as w:
        call = await streamed(w)
        lines = await written(tmp_path)
        voice = w.fake.calls[call].voice
        sent = [c for c in w.fake.commanded if c.call_control_id == call and c.status == 200]
    assert lines == [
        "speak ok False",
        "SpeakEnded completed b'\\xff'",
        *("record ok False", "pause ok False", "resume ok False", "stop ok False"),
        "RecordingSaved dual mp3",
        *("keys ok False", "gather ok False", "play ok False", "silence ok False"),
        "any ok False",
        "again ok True",
        "transfer ok False",
        "CallBridged",
        "hangup ok True",
        "over",
    ]
    assert voice.digits == "12#"
    assert max(abs(run.samples).max() for run in voice.ear.runs) > 1000, "speech is heard"
    names = [c.command for c in sent]
    assert names[1:] == [
        *("speak", "record_start", "record_pause", "record_resume", "record_stop"),
        *("send_dtmf", "gather_using_speak", "playback_start", "playback_stop"),
        *("siprec_start", "transfer", "hangup"),
    ]
    bodies = {c.command: c.body for c in sent}
    assert (bodies["transfer"]["to"], bodies["transfer"]["from"]) == ("+13125550100", "+3")
    assert bodies["siprec_start"]["connector_name"] == "x"


@ways
async def test_what_goes_wrong_is_the_clients_own_error(
    tmp_path: Path, workers: int, isolate: bool
) -> None:
    """The same classes and texts in a worker; a call that has ended is an answer, not a wait."""
    async with world(bot("mistakes", tmp_path), workers=workers, isolate=isolate, echo=False) as w:
        w.fake.faults.add(RestFault("status", "speak", status=404, code="10005"))
        call = await streamed(w)
        await written(tmp_path, 9)
        w.fake.calls[call].hang_up()
        await written(tmp_path, 10)
        lines = await written(tmp_path)
        asked = [c.command for c in w.fake.commanded if c.call_control_id == call]
    assert lines[0] == "field InvalidFieldError language: must be text that is not empty"
    assert lines[1].startswith("unknown field InvalidFieldError pitch: must be left out")
    assert lines[2].startswith("unsendable InvalidFieldError sip_address: must be text")
    assert lines[3].startswith("id InvalidFieldError speak: must be called with its own arguments")
    assert lines[4].startswith("refused NotFoundError HTTP 404 code 10005")
    assert lines[5].startswith("not found NotFoundError HTTP 422 code 90015")
    assert lines[6].startswith("action InvalidFieldError action: must be the name of an action")
    assert lines[7].startswith("method InvalidFieldError method: must be one of answer, bridge")
    assert lines[8].startswith("inner InvalidFieldError method: must be one of answer, bridge")
    assert lines[9].startswith("ended UnprocessableError HTTP 422 code 90018")
    assert "dial" not in asked


@ways
async def test_without_a_key_the_setting_is_named(
    serving: Serving, tmp_path: Path, workers: int, isolate: bool
) -> None:
    """One clear error, raised at the bot."""
    async with serving(
        bot("keyless", tmp_path), "echo", workers=workers, isolate=isolate
    ) as server:
        await place_call(server.url, CallPlan(seconds=0.2))
        lines = await written(tmp_path)
    assert lines[0] == (
        "speak ConfigurationError call.control needs a Telnyx API key: set api_key (TELNYX_API_KEY)"
    )


@ways
async def test_a_bot_need_not_wait_for_a_command(
    tmp_path: Path, workers: int, isolate: bool
) -> None:
    """Given up, it is not tried again in whatever process, and the next one is carried out."""
    async with world(bot("impatient", tmp_path), workers=workers, isolate=isolate) as w:
        w.fake.faults.add(
            RestFault("status", "speak", times=9, status=503, headers={"retry-after": "20"})
        )
        await streamed(w)
        assert await written(tmp_path) == ["given up", "keys ok False", "over"]
        if isinstance(w.server.service, MultiProcessService):
            commands = w.server.service._commands
            assert commands is not None
            await soon(lambda: not commands._tasks, 20)
        assert [c.command for c in w.fake.commanded].count("speak") == 1


@ways
async def test_a_bot_is_cancelled_in_the_middle_of_a_command(
    tmp_path: Path, workers: int, isolate: bool
) -> None:
    """When the grace of its ended call is over; nothing hangs, and the server closes at once."""
    more = {"handler_grace_s": 0.2}
    async with world(bot("stuck", tmp_path), workers=workers, isolate=isolate, **more) as w:
        w.fake.faults.add(RestFault("slow", "speak", delay_s=60.0))
        call = await streamed(w)
        await soon(lambda: bool(w.fake.faults.pending) and not w.fake.faults.pending[0].times, 20)
        w.fake.calls[call].hang_up()
        assert await written(tmp_path) == ["cancelled", "over"]
        await soon(lambda: w.server.service.n_calls == 0, 20)
        assert w.server.service.counters["abandoned_handlers"] == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_lost_hosts_commands_are_not_answered_to_the_next(
    tmp_path: Path, workers: int
) -> None:
    """What a dead chain had asked for is not taken for an answer to the one that follows it."""
    async with world(bot("dies", tmp_path), workers=workers, isolate=True) as w:
        w.fake.faults.add(RestFault("slow", "speak", delay_s=1.5))
        w.fake.faults.add(RestFault("slow", "fork_stop", delay_s=3.0))
        await streamed(w)
        assert await written(tmp_path) == ["again ok True", "over"]
