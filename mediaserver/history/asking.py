"""Parses the filters for lists of calls, as they are given in flags or in a URL."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from mediaserver.errors import MediaServerError
from mediaserver.history.records import CallRecord
from mediaserver.history.stores import DEFAULT_LIMIT, MOST, Query
from mediaserver.observer import TROUBLES

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_YES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
NAMES = ("live", "bad", "last", "limit", "before")


class WrongQuestionError(MediaServerError):
    """A filter cannot be understood; the text says what is allowed."""


def query_of(asked: Mapping[str, str]) -> Query:
    """Which ended calls are asked for.

    Args:
        asked: ``last`` (``90s``, ``15m``, ``1h``, ``7d``), ``bad`` (yes, or the name of a
            trouble), ``limit``, ``before`` (a ``place_text``).

    Raises:
        WrongQuestionError: one of them is wrong.
    """
    bad = _bad(asked.get("bad", "no"))
    return Query(
        since=time.time() - seconds_of(asked["last"]) if "last" in asked else 0.0,
        before=_place(asked["before"]) if "before" in asked else None,
        only_bad=bad is not False,
        trouble=bad if isinstance(bad, str) else None,
        limit=_limit(asked.get("limit", str(DEFAULT_LIMIT))),
    )


def live_of(asked: Mapping[str, str]) -> bool | None:
    """Whether live calls only are asked for, or ended ones only; None: both.

    Raises:
        WrongQuestionError: neither yes nor no.
    """
    return yes_or_no("live", asked["live"]) if "live" in asked else None


def seconds_of(text: str) -> float:
    """A length of time, such as ``90s``, ``15m``, ``1h``, ``7d``, in seconds.

    Raises:
        WrongQuestionError: it is none.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([smhd])", text.strip())
    if found is None:
        raise WrongQuestionError("last is a length of time: 90s, 15m, 1h, 7d")
    return float(found[1]) * _UNITS[found[2]]


def yes_or_no(name: str, text: str) -> bool:
    """Yes or no.

    Raises:
        WrongQuestionError: neither.
    """
    if text.lower() not in _YES:
        raise WrongQuestionError(f"{name} is true or false")
    return _YES[text.lower()]


def place_text(record: CallRecord) -> str:
    """A record's place, for the next page: ``before=…``."""
    ended_at, call_id = record.place
    return f"{ended_at!r}/{call_id}"


def _place(text: str) -> tuple[float, str]:
    ended_at, _, call_id = text.partition("/")
    try:
        return float(ended_at), call_id
    except ValueError:
        raise WrongQuestionError("before is the `next` of an earlier page") from None


def _bad(text: str) -> bool | str:
    if text in TROUBLES:
        return text
    if text.lower() not in _YES:
        raise WrongQuestionError(f"bad is true, or one of {', '.join(TROUBLES)}")
    return _YES[text.lower()]


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 6 and int(text) > 0):
        raise WrongQuestionError(f"limit is a number from 1 to {MOST}")
    return min(int(text), MOST)
