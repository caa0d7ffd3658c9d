"""What a spawner of processor hosts begins with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from mediaserver.processes.child import SECRETS
from mediaserver.server.handed_settings import HandedSettings
from mediaserver.settings import Settings

# Names of variables that hold secrets: by a part of them; by a word, for what is part of harmless
# names, such as PATH and COMPASS. docs/processors.md lists them.
SECRET_PARTS = (
    *("AUTH", "COOKIE", "CREDENTIAL", "KEY", "PASSPHRASE", "PASSWD", "PASSWORD", "PRIVATE"),
    *("SECRET", "TOKEN"),
)
SECRET_WORDS = frozenset({"CREDS", "DSN", "JWT", "PASS", "PAT", "PGPASS", "PWD"})
# These are of the shell, and name folders.
NO_SECRETS = frozenset({"OLDPWD", "PWD"})
# A URL with a password: https://user:password@host.
_URL_WITH_PASSWORD = re.compile(r"://[^/?#\s]*:[^/?#\s]+@")


class HostSetup(msgspec.Struct, frozen=True, tag=True):
    """The first message to a spawner.

    Attributes:
        beat_s: seconds between two of its heartbeats.
        settings: without the secrets that only the server needs, because users' code can read
            everything here. The key for hashing telephone numbers is left out, too: numbers that
            the server would log as a hash are masked here.
        worker: number of the worker that carries the calls, for the log.
    """

    beat_s: float
    settings: HandedSettings
    worker: int | None = None

    @classmethod
    def of(cls, settings: Settings, beat_s: float, worker: int | None = None) -> HostSetup:
        """The message for these settings.

        Raises:
            ConfigurationError: another process cannot be given them.
        """
        if settings.log_numbers == "hash":
            settings = msgspec.structs.replace(settings, log_numbers="masked")
        handed = HandedSettings.of(settings, "processor hosts", numbers_key=None)
        return cls(beat_s, handed, worker)


def secret_names(environment: Mapping[str, str], allowed: Iterable[str]) -> frozenset[str]:
    """Variables that no processor host gets: what looks like a secret and is not allowed."""
    looks = {n for n, v in environment.items() if _names_secret(n) or _URL_WITH_PASSWORD.search(v)}
    return (SECRETS | looks) - frozenset(allowed)


def _names_secret(name: str) -> bool:
    upper = name.upper()
    if upper in NO_SECRETS:
        return False
    words = re.split("[^A-Z]+", upper)
    return any(part in upper for part in SECRET_PARTS) or not SECRET_WORDS.isdisjoint(words)
