"""The path of a file as a request names it, and the fields that name it for browsers.

A path has two spellings for a byte that is not UTF-8: the percent-encoded byte itself, and the character that stands
for it in listings (docs/contract.rst, "Transfers").
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web

from pagent.names import written
from pagent.web.admission import handed_over

#: The place of the path in a target, counted in slashes: /v1/jobs/<uid>/files/<path>
_PLACE: Final = 5
_unsafe: Final = re.compile(r"[^A-Za-z0-9._ ()+-]")
_unsayable: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\U0010fe80-\U0010feff]")
#: Beside letters and digits, the characters that RFC 8187 section 3.2.1 leaves as they are.
_PLAIN: Final = "!#$&+-.^_`|~"
_NAME_MAX: Final = 255


def path_of(request: web.Request) -> str:
    """Return the path of a file in the form that agents take. It is read from the target as the client wrote it."""
    target = handed_over(request).head.target.partition("?")[0]
    parts = target.split("/", _PLACE)
    raw = parts[_PLACE] if len(parts) > _PLACE else ""
    return written(unquote_to_bytes(raw.encode("utf-8", "surrogateescape")))


def attachment(path: str) -> str:
    """Return Content-Disposition: browsers save the file under its name, and show nothing of it (RFC 6266)."""
    name = _unsayable.sub("_", path.rstrip("/").rpartition("/")[2])[:_NAME_MAX] or "file"
    plain = _unsafe.sub("_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_PLAIN)}"
