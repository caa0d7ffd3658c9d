"""What hears the calls of a process together, as a runner sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mediaserver.processors.chain import Stage
from mediaserver.processors.spec import Spec
from mediaserver.server.calls.view import CallView


class Batches(Protocol):
    """The batch processors of a process."""

    def start(self) -> None:
        """Make those that the settings name ready.

        Raises:
            ConfigurationError: one cannot be made.
        """

    def join(
        self,
        view: CallView,
        spec: Spec,
        parameters: Mapping[str, Any],
        failed: Callable[[BaseException], None],
    ) -> Stage:
        """Have a call heard; the stage that takes its frames."""

    def close(self) -> None:
        """End their threads."""
