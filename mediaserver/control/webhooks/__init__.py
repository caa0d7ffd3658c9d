"""What Telnyx reports: verified, each event once."""
