"""Whose task it is: of which processor, and of which call.

A stack tells which line runs, but not for whom. So the tasks that processors have started, and
those that read their sources, are noted here.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary


class Owner(NamedTuple):
    """Whose code runs.

    Attributes:
        processor: its name; empty if it is not known.
        call_id: of its call; empty likewise.
    """

    processor: str = ""
    call_id: str = ""


_OWNER: ContextVar[Owner] = ContextVar("owner")
_OWNERS: WeakKeyDictionary[asyncio.Task[Any], Owner] = WeakKeyDictionary()


def works_for(owner: Owner) -> None:
    """This task, and what it starts, is this one's from now on."""
    _OWNER.set(owner)


def note(task: asyncio.Task[Any], owner: Owner) -> None:
    """A new task is this one's; if it does not say of which processor, of the one that runs."""
    _OWNERS[task] = owner if owner.processor else _OWNER.get(owner)


def owner_of(task: asyncio.Task[Any] | None) -> Owner:
    """Whose task it is; from any thread."""
    return (_OWNERS.get(task) if task is not None else None) or Owner()
