"""``python -m bench.compare COMMIT [options of the bench]``: the agents of a commit and of this tree, in turn.

The commit is checked out as a worktree in a temporary folder, and compiled there if this tree is; the bench, the job
and the references are this tree's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench import cli
from bench.agentproc import ROOT
from pagent import is_compiled

#: Ways that a comparison leaves out.
_WITHOUT: Final = ("--no-peers", "--without", "dials", "--without", "tunnel", "--without", "direct")


@contextmanager
def checked_out(commit: str, *, compiled: bool) -> Iterator[Path]:
    """Yield a worktree of a commit for the length of the block, ``compiled`` if it has what that takes.

    CalledProcessError if there is no such commit, or it cannot be compiled.
    """
    with tempfile.TemporaryDirectory(prefix="pagent-bench-base-") as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            if compiled and (tree / "setup.py").exists():
                subprocess.run(
                    [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
                    cwd=tree,
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*args: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *args], check=True)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit("usage: python -m bench.compare COMMIT [options of python -m bench]")
    try:
        with checked_out(sys.argv[1], compiled=is_compiled()) as tree:
            cli.main(["--base", str(tree), *_WITHOUT, *sys.argv[2:]])
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{sys.argv[1]} is not to be had: {error}") from None


if __name__ == "__main__":
    main()
