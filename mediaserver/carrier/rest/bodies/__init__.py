"""What a request may hold."""
