"""Who connects: addresses behind proxies, networks that may, and how many of each may wait."""
