"""Frames, their order and their playout; no I/O, time is an argument."""
