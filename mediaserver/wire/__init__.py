"""Telnyx's JSON and the states of one stream; no I/O, time is an argument."""
