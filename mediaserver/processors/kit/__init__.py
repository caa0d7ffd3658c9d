"""What bots are often made of: sources of sound, digits gathered."""
