"""Built-in batch processors that say what is heard in a call."""
