"""The log: few lines of each kind, what is in a line, and what is not.

What a stranger, a call or a plugin can cause as often as they like is logged through a
``LimitedLog``. Text that came from outside goes through ``shown`` first, a telephone number
through the ``Numbers`` of the settings.
"""

from mediaserver.logs.calls import CallLogger
from mediaserver.logs.limits import LimitedLog, LineLimit, LinesASecond, event_name, forget_all
from mediaserver.logs.numbers import MASKED, Numbers
from mediaserver.logs.streams import call_over, call_streams
from mediaserver.logs.texts import MAX_SHOWN, address, shown

__all__ = [
    "MASKED",
    "MAX_SHOWN",
    "CallLogger",
    "LimitedLog",
    "LineLimit",
    "LinesASecond",
    "Numbers",
    "address",
    "call_over",
    "call_streams",
    "event_name",
    "forget_all",
    "shown",
]
