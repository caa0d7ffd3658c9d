"""``mediaserver codecs``: what works here, and how to get what is missing."""

from __future__ import annotations

import argparse

from telephony_codecs import status


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    commands.add_parser("codecs", help="which codecs work here").set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """One line for each codec and direction; exit code 0."""
    for one in status():
        missing = f"no: {one.reason}; {one.remedy}"
        print(f"{one.codec:7} {one.direction:7} {'yes' if one.available else missing}")
    return 0
