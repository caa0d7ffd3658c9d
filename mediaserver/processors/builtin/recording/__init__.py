"""What ``record`` is made of: what was heard, the files, their way to where they are kept."""
