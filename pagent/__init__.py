"""pAgent: runs jobs, and carries their HTTP, WebSocket and TCP traffic over one link."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pagent-uvloop")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"
