"""Codecs of telephony as numpy arrays; useful without the media server."""
