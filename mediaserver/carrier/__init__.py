"""A fake Telnyx: what a call does, without a phone number."""

from __future__ import annotations

from mediaserver.carrier.call import FakeCall, Progress, check, place_call, place_calls
from mediaserver.carrier.plan import Audio, CallPlan, Faults, PlanError, speech
from mediaserver.carrier.report import CallReport, Summary

__all__ = [
    "Audio",
    "CallPlan",
    "CallReport",
    "FakeCall",
    "Faults",
    "PlanError",
    "Progress",
    "Summary",
    "check",
    "place_call",
    "place_calls",
    "speech",
]
