"""The garbage collector of a process that carries calls: seldom, and little to look at.

A full collection looks at every container of the process, while all calls wait. Most of those
are modules, classes and functions, which live as long as the process.
"""

from __future__ import annotations

import gc

YOUNG = 10_000
"""So many new containers before the young ones are looked at; Python's own is 700 or 2,000."""


def freeze_loaded() -> None:
    """Have what is loaded by now never looked at again, and the rest less often.

    **Call once, when all is loaded, in a process that is ours alone.**
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
