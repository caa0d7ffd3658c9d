"""Forked media: RTP over UDP becomes calls that can only be heard."""
