"""Telnyx's call control over REST, and its webhooks."""
