"""Generations of the server: a new process takes over the port, the old one keeps its calls."""
