"""Processes that carry calls for the one that listens."""
