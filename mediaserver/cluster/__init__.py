"""Many machines as one: where a call goes, and what happens to it when its node dies.

Ray knows which nodes there are, and restarts what died. Telnyx connects to the media servers, which
run outside Ray and keep their sockets. See docs/cluster.md.
"""
