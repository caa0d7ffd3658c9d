"""Where the shared libraries are: the one module that looks at the file system for them."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from telephony_codecs.errors import CodecUnavailableError

OPUS_REMEDY = (
    "install the av wheel (it carries libopus), or the system's libopus "
    "(Debian: libopus0), or give its path as the codec option 'library'"
)
# What to use instead comes first: a WebSocket's close reason has room for 123 octets (RFC 6455,
# 5.5).
AMRWB_REMEDY = "use G722, L16 or OPUS, or install libvo-amrwbenc (Debian: libvo-amrwbenc0)"


def load_opus(path: str | None = None) -> ctypes.CDLL:
    """Return libopus: the one at ``path``, else PyAV's own, else the system's.

    Raises:
        CodecUnavailableError: there is none, or it does not load.
    """
    candidates = [path] if path else [*bundled_opus(), *system_library("opus")]
    return load_first("OPUS", "decode or encode", candidates, OPUS_REMEDY)


def load_amrwb_encoder(path: str | None = None) -> ctypes.CDLL:
    """Return libvo-amrwbenc: the one at ``path``, else the system's.

    Raises:
        CodecUnavailableError: there is none, or it does not load.
    """
    candidates = [path] if path else list(system_library("vo-amrwbenc"))
    return load_first("AMR-WB", "encode", candidates, AMRWB_REMEDY)


def bundled_opus() -> Iterator[str]:
    """Yield the libopus files that an installed PyAV wheel carries.

    Beside the package on Linux and Windows (``av.libs``), inside it on macOS (``.dylibs``).
    """
    spec = importlib.util.find_spec("av")
    if spec is None or spec.origin is None:
        return
    package = Path(spec.origin).parent
    for folder in (package.parent / "av.libs", package / ".dylibs"):
        yield from sorted(str(file) for file in folder.glob("libopus[.-]*"))


@cache
def system_library(name: str) -> tuple[str, ...]:
    """Return what the platform's linker knows under ``name``, if anything.

    Asked once: it runs other programs, too slow to do again at the start of each call.
    """
    found = ctypes.util.find_library(name)
    return (found,) if found else ()


def load_first(codec: str, direction: str, candidates: list[str], remedy: str) -> ctypes.CDLL:
    """Return the first candidate that loads; CodecUnavailableError with the last reason."""
    reason = "its library is not found"
    for candidate in candidates:
        try:
            return ctypes.CDLL(candidate)
        except OSError as error:
            reason = f"{Path(candidate).name} does not load ({error})"
    raise CodecUnavailableError(codec, direction, reason, remedy)
