"""Names of files, as they are on the wire and which are the agent's own, and of environment variables.

A file name is any bytes but ``/`` and NUL, and a str on the wire is valid UTF-8. So each byte that is not part of valid
UTF-8 is written as one private character, U+10FE80 for 0x80 to U+10FEFF for 0xFF. The four bytes of such a character
in a name are written in the same way. Every name has exactly one such form, and every method returns and takes it.

Listings and archives leave out unfinished files.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: The variable that holds a token: one that ``serve`` accepts, or that the other commands present.
TOKEN_VARIABLE: Final = "PAGENT_TOKEN"
#: The line that an agent prints when it has read its join data.
JOINING: Final = "pagent: joining"
#: What the error of a job begins with whose agent, of a pool, has ended before it; the words of the engine follow.
AGENT_ENDED: Final = "its agent has ended: "

UPLOAD_PREFIX: Final = ".pagent-upload-"
SPOOL_PREFIX: Final = ".pagent-spool-"
#: Prefix of a name that is being deleted.
GONE_PREFIX: Final = ".pagent-gone-"
#: Suffix of the kept part of an upload, which a peer may continue (docs/contract.rst, "Transfers").
PARTIAL_SUFFIX: Final = ".pagent-partial"
#: Prefixes of names that no peer may replace or remove; the first is of the files of a job's output.
_OWN: Final = (".pagent.", UPLOAD_PREFIX, SPOOL_PREFIX, GONE_PREFIX)

#: The longest name on every file system in use (NAME_MAX).
NAME_MAX: Final = 255
_DIGEST: Final = 16

_BASE: Final = 0x10FE00
_ODD: Final = re.compile("[\udc80-\udcff\U0010fe80-\U0010feff]")
_ESCAPED: Final = re.compile("[\udc80-\udcff]+")
_WRITTEN: Final = re.compile("[\U0010fe80-\U0010feff]+")


def to_wire(name: str) -> str:
    """Return a name, or a path, of the system (surrogateescape) as it is on the wire."""
    if name.isascii() or not _ODD.search(name):
        return name
    return _ODD.sub(lambda odd: "".join(chr(_BASE + byte) for byte in _bytes(odd[0])), name)


def written(path: bytes) -> str:
    """Return the form on the wire of a path whose characters may be in that form already."""
    text = path.decode("utf-8", "surrogateescape")
    return _ESCAPED.sub(lambda odd: "".join(chr(_BASE + byte) for byte in _bytes(odd[0])), text)


def from_wire(path: str) -> str:
    """Return the reverse of :func:`to_wire`. ValueError for a lone surrogate, which no UTF-8 has."""
    if path.isascii():
        return path
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"not valid Unicode: {path!r}") from None
    return _WRITTEN.sub(lambda written: _text(bytes(ord(char) - _BASE for char in written[0])), path)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def is_own(path: str) -> bool:
    """Return whether a name in this path is the agent's own, which no peer may write or remove."""
    return any(part.startswith(_OWN) for part in path.split("/"))


def is_unfinished(path: str) -> bool:
    """Return whether this is the name of an unfinished upload, a spool, or a file that is being deleted."""
    return path.rpartition("/")[2].startswith((UPLOAD_PREFIX, SPOOL_PREFIX, GONE_PREFIX))


def is_partial(path: str) -> bool:
    """Return whether this is the name of the kept part of an upload."""
    return path.endswith(PARTIAL_SUFFIX)


def partial_of(path: str) -> str:
    """Return the path of the kept part of an upload to ``path``: in the same folder, with a long name cut."""
    folder, slash, name = path.rpartition("/")
    encoded = _bytes(from_wire(name))
    if len(encoded) + len(PARTIAL_SUFFIX) > NAME_MAX:
        head = encoded[: NAME_MAX - len(PARTIAL_SUFFIX) - _DIGEST - 1].decode("utf-8", "ignore")
        name = f"{head}-{hashlib.sha256(encoded).hexdigest()[:_DIGEST]}"
    return f"{folder}{slash}{name}{PARTIAL_SUFFIX}"
