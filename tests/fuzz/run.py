"""Fuzz one target, guided by the branches that its inputs take.

    python -m tests.fuzz.run amrwb_framing --seconds 600

Atheris (libFuzzer for Python) does it where there is a wheel of it: Linux on x86-64. Elsewhere
the fixtures are mutated at random, without guidance, which is said. What was found of
interest is kept in ``.fuzz/``, and the next run begins with it; an input that breaks a promise
is written there too, and the exit code is not 0.

What this does not show: what C code does out of its bounds without a crash.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import random
import sys
import time
from pathlib import Path
from typing import NoReturn

from tests.fuzz.harness import INSTRUMENTED_FACTOR, feed
from tests.fuzz.targets import FIXTURES, INSTRUMENTED, MODULES, load

ROOT = Path(__file__).parents[2]
MAX_OCTETS = 4096
# A hung input, by the clock: so long that a busy machine does not pass it.
HUNG_S = 60
RSS_MB = 1024


def seeds(name: str) -> list[Path]:
    """The folders whose files a target begins with."""
    return [path for path in sorted((FIXTURES / name).iterdir()) if path.is_dir()]


def guided(name: str, seconds: float, kept: Path, seed: int) -> NoReturn:
    """Let Atheris do it; libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        target = load(name)
    kept.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={MAX_OCTETS}",
        f"-timeout={HUNG_S}",
        f"-rss_limit_mb={RSS_MB}",
        f"-artifact_prefix={kept.parent}/broke-{name}-",
        f"-seed={seed}",
        "-print_final_stats=1",
        "-verbosity=0",
        str(kept),
        *map(str, seeds(name)),
    ]

    def one(data: bytes) -> None:
        feed(target, data, always=False, factor=INSTRUMENTED_FACTOR)

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends the process")


def mutated(dice: random.Random, data: bytes) -> bytes:
    """An input with a few things wrong."""
    octets = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(octets) + 1)
        way = dice.randrange(5)
        if way == 0 and octets:
            octets[at % len(octets)] ^= 1 << dice.randrange(8)
        elif way == 1 and octets:
            octets[at % len(octets)] = dice.randrange(256)
        elif way == 2:
            del octets[at : at + dice.randint(1, 16)]
        elif way == 3:
            octets[at:at] = dice.randbytes(dice.randint(1, 16))
        else:
            octets[at:at] = octets[dice.randrange(len(octets) + 1) :]
    return bytes(octets[:MAX_OCTETS])


def unguided(name: str, seconds: float, kept: Path, seed: int) -> int:
    """Mutate the fixtures at random; 1 with the input that broke a promise."""
    print("Atheris is not here: the fixtures are mutated at random")
    target = load(name)
    known = [file.read_bytes() for folder in seeds(name) for file in folder.iterdir()]
    dice, until, n = random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = mutated(dice, dice.choice(known))
        n += 1
        try:
            feed(target, data, always=False)
        except Exception:
            kept.parent.mkdir(parents=True, exist_ok=True)
            (kept.parent / f"broke-{name}-{seed}-{n}").write_bytes(data)
            raise
    print(f"{name}: {n} inputs, no broken promise")
    return 0


def main() -> int:
    """Run it by the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", choices=list(MODULES))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--keep", type=Path, default=ROOT / ".fuzz")
    given = parser.parse_args()
    seed = given.seed or random.SystemRandom().randrange(1, 1 << 31)
    kept = given.keep / given.target
    logging.disable(logging.CRITICAL)
    if importlib.util.find_spec("atheris") is None:
        return unguided(given.target, given.seconds, kept, seed)
    guided(given.target, given.seconds, kept, seed)


if __name__ == "__main__":
    sys.exit(main())
