"""Many machines as one: where a call goes, and what becomes of it when its node dies.

Ray says who is there and starts again what died; Telnyx dials; the sockets stay with the media
servers, which are no part of Ray. See docs/cluster.md.
"""
