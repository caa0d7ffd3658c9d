"""What is looked at in a call while it lives, and what is said of it at its end."""
