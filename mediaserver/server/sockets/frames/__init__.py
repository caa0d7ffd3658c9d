"""WebSocket frames: where they end, what they say."""
