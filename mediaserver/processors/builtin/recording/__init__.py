"""The parts of ``record``: what the caller heard, the files, and their upload to a store."""
