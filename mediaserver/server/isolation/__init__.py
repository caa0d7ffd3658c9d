"""Processors in processes of their own: what they do there harms no other host's calls.

``runner`` stands in a call's session where the inline runner would; ``hosted`` runs that same
inline runner in a *processor host*, a child process, on a remote view of the call.
"""
