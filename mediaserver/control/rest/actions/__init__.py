"""Commands to one call other than streaming: speak, play, record, press keys, transfer."""
