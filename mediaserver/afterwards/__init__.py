"""What is left to do behind the end of a call: threads that do it, and how much there is."""
