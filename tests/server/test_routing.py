"""Routes over real sockets, with the calls here or in workers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from mediaserver.carrier import CallPlan, place_call
from mediaserver.settings import ProcessorSetting, RouteSetting
from tests.server.conftest import Serving
from tests.server.following import Followed
from tests.server.workers.crews import soon

in_both = pytest.mark.parametrize("workers", [1, 2])

TO = "+13122123456"  # what the fake's calls are made to

BOTS = """
from mediaserver.processors.api import processor

@processor
async def support(call): ...

@processor
async def sales(call): ...

@processor
async def other(call, greeting: str = ""): ...
"""


@pytest.fixture
def bots(tmp_path: Path) -> Path:
    path = tmp_path / "routed.py"
    path.write_text(BOTS)
    return path


def chain(bots: Path, name: str, **more: Any) -> tuple[ProcessorSetting, ...]:
    return (ProcessorSetting(f"{bots}:{name}", alias=name, **more),)


@in_both
async def test_calls_are_routed(
    serving: Serving, followed: Followed, bots: Path, workers: int
) -> None:
    """By path, called number, custom parameter or URL parameter; the first that fits."""
    routes = (
        RouteSetting(path="support", processors=chain(bots, "support")),
        RouteSetting(parameters={"bot": "sales"}, processors=chain(bots, "sales")),
        RouteSetting(path="numbers", to=(TO,), processors=chain(bots, "sales")),
        RouteSetting(path="numbers", processors=chain(bots, "support")),
    )
    cases: list[tuple[str, dict[str, str], str, str]] = [
        ("", {}, "other", ""),
        ("/support", {}, "support", "path support"),
        ("/support", {"bot": "sales"}, "support", "path support"),
        ("", {"bot": "sales"}, "sales", "bot=sales"),
        ("?bot=sales", {}, "sales", "bot=sales"),
        ("?bot=sales", {"bot": "other"}, "other", ""),
        ("/numbers", {}, "sales", "path numbers, to …56"),
    ]
    async with serving(*chain(bots, "other"), routes=routes, workers=workers) as server:
        for path, parameters, name, route in cases:
            plan = CallPlan(seconds=0.1, custom_parameters=parameters)
            assert (await place_call(server.url + path, plan)).close_code == 1000
            await soon(lambda plan=plan: bool(followed.summaries[plan.call_control_id]))  # type: ignore[misc]  # bound at once
            summary = followed.summary(plan.call_control_id)
            assert (summary.processors, summary.route) == ((f"{bots}:{name}",), route)


@in_both
async def test_an_unknown_name_is_refused(
    serving: Serving, bots: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """404, counted, and said with the address and the name perhaps meant, not the one given."""
    routes = (RouteSetting(path="support", processors=chain(bots, "support")),)
    async with serving(*chain(bots, "other"), routes=routes, workers=workers) as server:
        for path in ("/suport", "/support/more/of/it", "/%2e%2e", "/s3cret"):
            report = await place_call(server.url + path, CallPlan(seconds=0.1))
            assert "404" in str(report.error)
        assert server.service.counters["refused_path"] == 4
    said = [r.getMessage() for r in caplog.records if "refused with 404" in r.getMessage()]
    assert said[0].startswith("a connection from 127.0.0.1:")
    assert said[0].endswith(
        "404: no route has the name that is behind /media, and no auth_token is set;"
        " did you mean 'support'?"
    )


async def test_a_token_may_follow_the_name(
    serving: Serving, followed: Followed, bots: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """``/media/NAME/TOKEN``; alone it is a token; a wrong name with the token beside it is 404."""
    routes = (RouteSetting(path="support", processors=chain(bots, "support")),)
    cases = [
        ("/support/s3cret", None, "support"),
        ("/s3cret", None, "other"),
        ("/support", "s3cret", "support"),
        ("/support?token=s3cret", None, "support"),
        ("/s3cret", "s3cret", "other"),
        ("/support/wrong", None, "401"),
        ("/suport", None, "401"),
        ("/suport", "s3cret", "404"),
        ("/suport?token=s3cret", None, "404"),
    ]
    async with serving(*chain(bots, "other"), routes=routes, auth_token="s3cret") as server:
        for path, token, expected in cases:
            plan = CallPlan(seconds=0.1, token=token)
            report = await place_call(server.url + path, plan)
            if expected.isdigit():
                assert expected in str(report.error), path
                continue
            assert report.close_code == 1000, path
            await soon(lambda plan=plan: bool(followed.summaries[plan.call_control_id]))  # type: ignore[misc]  # bound at once
            assert followed.summary(plan.call_control_id).processors == (f"{bots}:{expected}",)
    assert any("no route's name either" in r.getMessage() for r in caplog.records)


@in_both
async def test_a_call_selects_within_its_chain(
    serving: Serving, followed: Followed, bots: Path, workers: int
) -> None:
    """``processor`` names one of its route's chain, or one that is offered; no other route's."""
    routes = (
        RouteSetting(path="a", processors=chain(bots, "support") + chain(bots, "other")),
        RouteSetting(path="b", processors=chain(bots, "sales")),
    )
    async with serving(routes=routes, offer=(ProcessorSetting("echo"),), workers=workers) as server:
        for path, name, expected in (
            ("/a", "other", f"{bots}:other"),
            ("/a", "echo", "echo"),
            ("/a", "sales", None),
            ("/b", f"{bots}:sales", None),
        ):
            plan = CallPlan(seconds=0.1, custom_parameters={"processor": name})
            report = await place_call(server.url + path, plan)
            if expected is None:
                assert report.close_code == 1008
                continue
            await soon(lambda plan=plan: bool(followed.summaries[plan.call_control_id]))  # type: ignore[misc]  # bound at once
            assert followed.summary(plan.call_control_id).processors == (expected,)


async def test_what_a_restart_asks_for(serving: Serving, followed: Followed, bots: Path) -> None:
    """The name behind ``/media/`` and the parameters that routed it: it comes there again."""
    routes = (
        RouteSetting(
            path="a", parameters={"bot": "x", "param_n": "1"}, processors=chain(bots, "sales")
        ),
    )
    async with serving(*chain(bots, "other"), routes=routes) as server:
        plan = CallPlan(seconds=0.1, custom_parameters={"bot": "x", "param_n": "1"})
        await place_call(f"{server.url}/a", plan)
    (request,) = followed.requests[plan.call_control_id]
    assert (request.path, request.matched, request.parameters) == ("a", {"bot": "x"}, {"n": "1"})


@in_both
async def test_a_parameter_that_no_allow_names_is_said(
    serving: Serving, bots: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The call goes on without it; with the name perhaps meant, and nothing of its value."""
    caplog.set_level(logging.INFO)
    given = {"param_greting": "canary", "param_x\n": "1"}
    async with serving(*chain(bots, "other", allow=("greeting",)), workers=workers) as server:
        await place_call(server.url, CallPlan(seconds=0.1, custom_parameters=given))
        await soon(lambda: server.service.counters["parameter_ignored"] == 2)
    if workers == 1:
        said = [r.getMessage() for r in caplog.records if "is ignored" in r.getMessage()]
        assert said[0].endswith("names it; did you mean 'greeting'?")
        assert "param_x\\n is ignored" in said[1]
