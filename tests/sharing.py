"""How tests are shared among test processes; mends what pytest-xdist leaves undone.

A test process runs a test when it knows the next one, or that there is none. pytest-xdist 3.8
gives a process that stands in for one that ended a single group of tests, and tells it nothing
more: a group of one test is never run, and the run waits for it for ever. It also runs the test
again in which the process ended; one that hangs would hang once for each process there can be.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadGroupScheduling


class Sharing(LoadGroupScheduling):  # type: ignore[misc]  # it ships no types
    """Gives groups of tests to processes; a test in which one ends has failed, once."""

    def remove_node(self, node: Any) -> str | None:
        """Take back what a process that ended has not run; the test that it was at."""
        work = self.assigned_work.pop(node)
        left = [(group, test) for group in work for test, done in work[group].items() if not done]
        if not left:
            return None
        group, test = left[0]
        work[group][test] = True
        self.workqueue.update(
            {name: work[name] for name, _ in left if not all(work[name].values())}
        )
        for other in self.nodes:
            self._reschedule(other)
        return str(test)

    def _reschedule(self, node: Any) -> None:
        super()._reschedule(node)
        if not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)
