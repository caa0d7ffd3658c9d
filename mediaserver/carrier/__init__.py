"""A fake Telnyx: what a call does, without a phone number."""
