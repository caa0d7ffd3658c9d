"""One call, and the registry of the calls of a process."""
