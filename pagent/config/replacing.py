"""Replace a small file at once: a reader gets the old content or the new one, never a part."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(target: Path, content: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write ``content`` to a new file with this mode, which takes the name of ``target``. OSError.

    ``owner``: user and group that the new file gets, if this process may give it away.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode())
            file.flush()
            os.fchmod(descriptor, mode)
            if owner is not None:
                with suppress(PermissionError):
                    os.fchown(descriptor, *owner)
            os.fsync(descriptor)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
