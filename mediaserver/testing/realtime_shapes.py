"""The documented events that a client of the Realtime protocol may send, as shapes. Pure."""

from __future__ import annotations

from mediaserver.testing.shapes import AUDIO, AnyOf, Shape

NOTHING = (None,)
_FORMAT = AnyOf(
    {"type": ("audio/pcm",), "rate": (24000,)},
    {"type": ("audio/pcmu", "audio/pcma")},
)
_TURNS = AnyOf(
    NOTHING,
    {
        "type": ("server_vad",),
        "threshold?": float,
        "prefix_padding_ms?": int,
        "silence_duration_ms?": int,
        "idle_timeout_ms?": int,
        "create_response?": bool,
        "interrupt_response?": bool,
    },
    {
        "type": ("semantic_vad",),
        "eagerness?": ("low", "medium", "high", "auto"),
        "create_response?": bool,
        "interrupt_response?": bool,
    },
)
_TOOL = {"type": ("function",), "name": str, "description?": str, "parameters?": dict}
SESSIONS: dict[str, Shape] = {
    "ga": {
        "type": ("realtime",),
        "model?": str,
        "instructions?": str,
        "output_modalities?": [("audio", "text")],
        "audio?": {
            "input?": {
                "format?": _FORMAT,
                "turn_detection?": _TURNS,
                "transcription?": AnyOf(NOTHING, dict),
                "noise_reduction?": AnyOf(NOTHING, dict),
            },
            "output?": {"format?": _FORMAT, "voice?": str, "speed?": float},
        },
        "tools?": [_TOOL],
        "tool_choice?": object,
        "max_output_tokens?": AnyOf(int, ("inf",)),
        "include?": [str],
        "prompt?": AnyOf(NOTHING, dict),
        "tracing?": object,
        "truncation?": object,
    },
    "beta": {
        "modalities?": [("audio", "text")],
        "instructions?": str,
        "voice?": str,
        "input_audio_format?": ("pcm16",),
        "output_audio_format?": ("pcm16",),
        "input_audio_transcription?": AnyOf(NOTHING, dict),
        "turn_detection?": _TURNS,
        "tools?": [_TOOL],
        "tool_choice?": object,
        "temperature?": float,
        "max_response_output_tokens?": AnyOf(int, ("inf",)),
    },
}
"""By dialect. Of the beta's audio formats only the one that the stand-in hears."""
_COMMON = {"type": str, "event_id?": str}
_ITEM = {
    "id?": str,
    "type": ("message", "function_call", "function_call_output"),
    "role?": ("user", "assistant", "system"),
    "content?": [dict],
    "call_id?": str,
    "name?": str,
    "arguments?": str,
    "output?": str,
    "status?": str,
}
_RESPONSE = {
    "instructions?": str,
    "conversation?": ("auto", "none"),
    "output_modalities?": [("audio", "text")],
    "modalities?": [("audio", "text")],
    "input?": [_ITEM],
    "metadata?": dict,
    "tools?": [_TOOL],
    "tool_choice?": object,
}
EVENTS: dict[str, Shape] = {
    # The session itself is judged by its dialect.
    "session.update": {**_COMMON, "session": dict},
    "input_audio_buffer.append": {**_COMMON, "audio": AUDIO},
    "input_audio_buffer.commit": _COMMON,
    "input_audio_buffer.clear": _COMMON,
    "conversation.item.create": {**_COMMON, "previous_item_id?": str, "item": _ITEM},
    "conversation.item.truncate": {
        **_COMMON,
        "item_id": str,
        "content_index": int,
        "audio_end_ms": int,
    },
    "conversation.item.delete": {**_COMMON, "item_id": str},
    "conversation.item.retrieve": {**_COMMON, "item_id": str},
    "response.create": {**_COMMON, "response?": _RESPONSE},
    "response.cancel": {**_COMMON, "response_id?": str},
}
