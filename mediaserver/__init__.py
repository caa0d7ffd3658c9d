"""A real-time media server for Telnyx voice calls."""
