"""Commands to one call, beside its streams: heard, recorded, passed on."""
