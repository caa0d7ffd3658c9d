"""A node's media server: what it says, and what it does when the directory says so."""
