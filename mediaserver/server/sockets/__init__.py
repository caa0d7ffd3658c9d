"""Octets to messages: knows no call."""
