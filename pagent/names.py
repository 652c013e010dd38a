"""Names that are the agent's own: of files in a sandbox, of which no list and no archive shows what is unfinished, and
of variables in its environment.
"""

from __future__ import annotations

from typing import Final

#: The variable that holds a token: one that ``serve`` accepts, or that the other commands present.
TOKEN_VARIABLE: Final = "PAGENT_TOKEN"


UPLOAD_PREFIX: Final = ".pagent-upload-"
SPOOL_PREFIX: Final = ".pagent-spool-"
#: What is being deleted.
GONE_PREFIX: Final = ".pagent-gone-"
#: Of the kept part of an upload, which a peer may go on with (spec agent.md, "Files").
PARTIAL_SUFFIX: Final = ".pagent-partial"


def is_unfinished(path: str) -> bool:
    """Does a file of the agent's own that is not yet, or no longer, one of the job's have this name?"""
    return path.rpartition("/")[2].startswith((UPLOAD_PREFIX, SPOOL_PREFIX, GONE_PREFIX))


def is_partial(path: str) -> bool:
    """Is this the name of the kept part of an upload?"""
    return path.endswith(PARTIAL_SUFFIX)
