"""``python -m tests.fuzz [--seconds N] [TARGET...]``: each in a process of its own, with a corpus in ``build/fuzz``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import SEEDS, TARGETS

CORPUS = Path("build/fuzz")


def fuzz(name: str, seconds: int) -> None:
    """In this process; libFuzzer ends it, with a code that is not 0 if something was found."""
    import atheris

    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (folder / f"seed-{number}").write_bytes(seed)
    # The packages are loaded by now: what is to guide the fuzzer is instrumented after the fact.
    atheris.instrument_all()
    prefix = f"-artifact_prefix={CORPUS}/{name}-found-"
    atheris.Setup([sys.argv[0], str(folder), f"-max_total_time={seconds}", "-max_len=4096", prefix], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--here", action="store_true", help="one target, in this process")
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], default=[])
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if options.here:
        fuzz(names[0], options.seconds)
    words = [sys.executable, "-m", "tests.fuzz", "--here", "--seconds", str(options.seconds)]
    return max(subprocess.run([*words, name]).returncode for name in names)


if __name__ == "__main__":
    sys.exit(main())
