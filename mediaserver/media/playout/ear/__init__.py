"""What is known of the far end's ear: what it will hear, and what marks that came back tell."""
