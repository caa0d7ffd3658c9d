"""What the page ``/live`` is told: feeds without an end, and what may be done to a call."""
