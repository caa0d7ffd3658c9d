"""A call's audio: from chunks to frames, and from plays to messages."""
