"""What was found, as text and as one HTML file."""
