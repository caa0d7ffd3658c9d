"""Bridges: sockets between a call and speech services. See docs/bridges.md."""

from __future__ import annotations

from mediaserver.bridges.audio_socket import AudioSocket
from mediaserver.bridges.connecting import key_from
from mediaserver.bridges.down import on_service_down
from mediaserver.bridges.errors import ServiceDownError, ServiceError, ServiceRefusedError
from mediaserver.bridges.pcm import PcmReader, from_base64, to_base64, to_pcm
from mediaserver.bridges.realtime import Realtime, RealtimeSession
from mediaserver.bridges.retries import Limits
from mediaserver.bridges.synthesis import Speech, Synthesis, Voice
from mediaserver.bridges.transcription import Transcript, Transcription, TranscriptionSession

__all__ = [
    "AudioSocket",
    "Limits",
    "PcmReader",
    "Realtime",
    "RealtimeSession",
    "ServiceDownError",
    "ServiceError",
    "ServiceRefusedError",
    "Speech",
    "Synthesis",
    "Transcript",
    "Transcription",
    "TranscriptionSession",
    "Voice",
    "from_base64",
    "key_from",
    "on_service_down",
    "to_base64",
    "to_pcm",
]
