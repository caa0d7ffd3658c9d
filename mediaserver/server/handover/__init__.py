"""A stream between processes: read here as far as its `start`, and gone on with elsewhere."""
