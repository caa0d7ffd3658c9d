"""The listener, the media WebSocket, the session of one call, HTTP routes."""
