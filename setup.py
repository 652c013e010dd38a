"""Compiles the modules that every byte goes through, with mypyc; all else that there is to know is in pyproject.toml.

They are plain Python, and run as such where there is no C compiler or no CPython, at about twice the cost per request.
``PAGENT_COMPILE=0`` asks for that.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CompileError, LinkError

#: One module a line, relative to the top folder.
COMPILED = (Path(__file__).parent / "pagent" / "compiled.txt").read_text("ascii").split()

#: Written in C.
NATIVE = {
    "pagent.wire._frames": "pagent/wire/_frames.c",
    "pagent.wire._messages": "pagent/wire/_messages.c",
}

#: Only these commands want the C; the others ask for names and versions, and each of them reads this file.
BUILDS = {"bdist_wheel", "build_ext", "editable_wheel", "install"}


def scratch() -> str:
    """Make a folder for what a build leaves: generated C, objects, caches. It is deleted at the end of the process."""
    folder = tempfile.mkdtemp(prefix="pagent-build-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class BuildExt(build_ext):
    """All modules compiled, or none: half of them would not find the other."""

    def build_extensions(self) -> None:
        try:
            super().build_extensions()
        except (BaseError, CompileError, LinkError, OSError) as error:
            self.warn(f"pagent runs uncompiled, and slower: {error}")
            for extension in self.extensions:
                path = self.get_ext_fullpath(extension.name)
                if os.path.exists(path):
                    os.unlink(path)
            self.extensions = []


def extensions(scratch: str | None) -> list:
    native = [Extension(name, [source], extra_compile_args=["-O3"]) for name, source in NATIVE.items()]
    if "sdist" in sys.argv:
        return native  # for their sources
    wanted = os.environ.get("PAGENT_COMPILE", "1") != "0" and sys.implementation.name == "cpython"
    if not wanted or scratch is None:
        return []
    from mypyc.build import mypycify

    # What the modules import need not be installed to build them.
    options = ["--config-file=", "--ignore-missing-imports", "--no-warn-unused-configs", f"--cache-dir={scratch}/mypy"]
    compiled = mypycify([*options, *COMPILED], opt_level="2", debug_level="0", group_name="pagent", target_dir=scratch)
    return compiled + native


folder = scratch() if BUILDS.intersection(sys.argv) else None
setup(
    ext_modules=extensions(folder),
    cmdclass={"build_ext": BuildExt},
    options={"build": {"build_base": folder}, "egg_info": {"egg_base": folder}} if folder else {},
)
