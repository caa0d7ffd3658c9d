"""The way back of a forked call: there is none."""

from __future__ import annotations

from typing import Any, NoReturn

from mediaserver.errors import LISTEN_ONLY, ListenOnlyError
from mediaserver.media.frames import Int16Array
from mediaserver.server.calls.audio.outbound import Outbound


class ForkOutbound(Outbound):
    """Refuses whatever is to be played; all else is as in a call that plays nothing."""

    __slots__ = ()

    async def play(self, *_: Any, **__: Any) -> NoReturn:
        """See ``Call.play``."""
        raise ListenOnlyError(LISTEN_ONLY)

    def accept(self, *_: Any, **__: Any) -> NoReturn:
        """As ``play``."""
        raise ListenOnlyError(LISTEN_ONLY)

    def play_live(self, samples: Int16Array, rate: int | None = None) -> NoReturn:
        """See ``Call.play_live``."""
        raise ListenOnlyError(LISTEN_ONLY)

    def mark(self, name: str) -> NoReturn:
        """See ``Call.mark``."""
        raise ListenOnlyError(LISTEN_ONLY)

    async def played_out(self) -> None:
        """Nothing was accepted."""
