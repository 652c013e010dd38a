"""Decide which symbolic links of an archive are made, and make them.

A link is made if its target is relative and stays below the sandbox, whatever other links of the archive it passes. So
``..`` is allowed only at the beginning of a target, and the folder of the link has to be reached without a link. Then
the target leads up from a folder whose depth is known, and after that only down, by names or by links that were made
by the same rule.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

from pagent import limits
from pagent.files.sandbox_access import SandboxAccess
from pagent.names import UPLOAD_PREFIX


def stays_below(path: str, target: str) -> bool:
    """Return whether a link at ``path`` may have this target."""
    if not target or target.startswith("/") or "\0" in target or len(os.fsencode(target)) > limits.PATH_MAX:
        return False
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    return ups <= path.count("/") and ".." not in parts[ups:]


def make_link(sandbox: SandboxAccess, path: str, target: str) -> bool:
    """Make the link in place of a file or a link of that name.

    Return False if its folder is reached by a link. OSError.

    It is not given to the user that owns the sandbox: the owner of a symbolic link has no effect there.
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
