"""Processes that a program starts and watches: started, listened to, killed, replaced.

Nothing here knows what a kind of process is for: its messages and its program are given.
"""
