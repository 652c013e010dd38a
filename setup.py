"""Compile the modules that every byte passes through with mypyc. Everything else is in pyproject.toml.

Without a C compiler, without CPython, or with ``PAGENT_COMPILE=0`` the modules run as Python, at about twice the cost
for each request.
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

#: One module per line, relative to the top folder.
COMPILED = (Path(__file__).parent / "pagent" / "compiled.txt").read_text("ascii").split()

#: Modules that are written in C.
NATIVE = {
    "pagent.http1._lines": "pagent/http1/_lines.c",
    "pagent.wire._frames": "pagent/wire/_frames.c",
    "pagent.wire._messages": "pagent/wire/_messages.c",
    "pagent.wire._values": "pagent/wire/_values.c",
}

#: Commands that build C code. The others read this file for names and versions.
BUILDS = {"bdist_wheel", "build_ext", "editable_wheel", "install"}


def scratch() -> str:
    """Make a folder for generated C, objects and caches. It is deleted at the end of the process."""
    folder = tempfile.mkdtemp(prefix="pagent-build-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class BuildExt(build_ext):
    """Compile all modules or none, because compiled ones import each other as compiled."""

    def build_extensions(self) -> None:
        try:
            super().build_extensions()
        except (BaseError, CompileError, LinkError, OSError) as error:
            self.warn(f"pagent is not compiled, and runs slower: {error}")
            for extension in self.extensions:
                path = self.get_ext_fullpath(extension.name)
                if os.path.exists(path):
                    os.unlink(path)
            self.extensions = []


def extensions(scratch: str | None) -> list:
    native = [Extension(name, [source], extra_compile_args=["-O3"]) for name, source in NATIVE.items()]
    if "sdist" in sys.argv:
        return native  # their sources are part of an sdist
    wanted = os.environ.get("PAGENT_COMPILE", "1") != "0" and sys.implementation.name == "cpython"
    if not wanted or scratch is None:
        return []
    from mypyc.build import mypycify

    # The imports of the modules need not be installed to build them.
    options = ["--config-file=", "--ignore-missing-imports", "--no-warn-unused-configs", f"--cache-dir={scratch}/mypy"]
    compiled = mypycify([*options, *COMPILED], opt_level="2", debug_level="0", group_name="pagent", target_dir=scratch)
    return compiled + native


folder = scratch() if BUILDS.intersection(sys.argv) else None
setup(
    ext_modules=extensions(folder),
    cmdclass={"build_ext": BuildExt},
    options={"build": {"build_base": folder}, "egg_info": {"egg_base": folder}} if folder else {},
)
