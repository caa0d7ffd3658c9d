"""Runs processors in processes of their own, where they cannot harm calls of other processes.

``runner`` takes the place of the inline runner in a call's session. ``hosted`` runs the same inline
runner in a *processor host*, which is a child process, on an object that stands for the call there.
"""
