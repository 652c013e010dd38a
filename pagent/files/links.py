"""Symbolic links of an archive: which are made, and how.

A link is made if its target is relative and what it leads to is beneath the top, whatever other links of the archive
it passes. For this, ``..`` may only stand at its beginning, and the folder that the link is in has to be reached
without a link: then the way leads up from a folder that is really so deep, and from there on only down, by names or
by links that were made by the same rule.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

from pagent import limits
from pagent.files.sandboxed import Sandbox
from pagent.names import UPLOAD_PREFIX


def stays_beneath(path: str, target: str) -> bool:
    """Is this the target of a link at ``path`` that can be made?"""
    if not target or target.startswith("/") or "\0" in target or len(os.fsencode(target)) > limits.PATH_MAX:
        return False
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    return ups <= path.count("/") and ".." not in parts[ups:]


def make_link(sandbox: Sandbox, path: str, target: str) -> bool:
    """Make the link, in place of a file or a link of that name; False if a link leads to its folder. OSError.

    It is not handed over to the user whose the sandbox is: who owns a link matters to nobody.
    """
    folder, name = sandbox.open_parent(path, create=True)
    temporary = UPLOAD_PREFIX + secrets.token_hex(8)
    try:
        if not sandbox.is_direct(folder, path):
            return False
        os.symlink(target, temporary, dir_fd=folder)
        try:
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(folder)
    return True
