"""Which codecs there are: wire name to codec."""

from __future__ import annotations

from telephony_codecs.amrwb import AMR_WB
from telephony_codecs.contract import Codec
from telephony_codecs.errors import UnknownCodecError
from telephony_codecs.g711 import PCMA, PCMU
from telephony_codecs.g722 import G722
from telephony_codecs.l16 import L16
from telephony_codecs.mp3 import MP3
from telephony_codecs.opus import OPUS


class Registry:
    """Codecs by wire name; refuses a name twice."""

    def __init__(self, *codecs: Codec) -> None:
        self._codecs: dict[str, Codec] = {}
        for each in codecs:
            self.register(each)

    def register(self, new: Codec) -> None:
        """Add a codec; ValueError if its name is taken."""
        if new.name in self._codecs:
            raise ValueError(f"codec {new.name} is registered already")
        self._codecs[new.name] = new

    def codec(self, name: str) -> Codec:
        """Return the codec of that wire name (in capitals, as Telnyx writes it).

        Raises:
            UnknownCodecError: there is none.
        """
        try:
            return self._codecs[name]
        except KeyError:
            raise UnknownCodecError(name, self.names()) from None

    def names(self) -> tuple[str, ...]:
        """Return the registered names, in order of registration."""
        return tuple(self._codecs)


CODECS = Registry(PCMU, PCMA, G722, OPUS, AMR_WB, L16, MP3)
codec = CODECS.codec
names = CODECS.names
