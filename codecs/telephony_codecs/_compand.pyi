from collections.abc import Callable

from telephony_codecs.contract import Int16Array

def compander(table: bytes, /) -> Callable[[Int16Array], bytes]: ...
