"""pAgent: runs jobs, and carries their HTTP, WebSocket and TCP traffic over one link."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

try:
    __version__ = version("pagent-uvloop")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"


def is_compiled() -> bool:
    """Whether the modules that every byte goes through run as machine code (see ``setup.py``)."""
    spec = find_spec("pagent.wire.frames")
    return spec is not None and not str(spec.origin).endswith(".py")
