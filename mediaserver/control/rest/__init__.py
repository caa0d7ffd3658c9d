"""Telnyx's commands over REST."""
