"""The record that each ended call leaves: what it is, how it is written, and read again."""
