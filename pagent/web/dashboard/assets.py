"""The files of the dashboard's page: all that the folder ``assets`` holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from aiohttp import hdrs, web

#: The page itself, which is at ``/``.
INDEX: Final = "index.html"

#: The types of files, so that they do not depend on tables of the system.
_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_PLAIN: Final = "text/plain"  # licences

#: The policy of the page: nothing but its own files. xterm.js sets styles of elements.
PAGE_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


class Asset(NamedTuple):
    """One file. ``etag``: of its content, with quotation marks."""

    body: bytes
    content_type: str
    etag: str

    @classmethod
    def of(cls, name: str, body: bytes) -> Asset:
        """Return the file of this name."""
        content_type = _TYPES.get(PurePosixPath(name).suffix.lower(), _PLAIN)
        return cls(body, content_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    async def answer(self, request: web.Request) -> web.Response:
        """Answer with the file, or with 304 if the browser has it."""
        fields = {
            hdrs.ETAG: self.etag,
            hdrs.CACHE_CONTROL: "no-cache",  # it is asked for each time, since a new release has other files
            "Content-Security-Policy": PAGE_POLICY,
        }
        known = [f'"{each.value}"' for each in request.if_none_match or ()]
        if self.etag in known or known == ['"*"']:
            return web.Response(status=304, headers=fields)
        charset = "utf-8" if self.content_type.startswith("text/") else None
        return web.Response(body=self.body, content_type=self.content_type, charset=charset, headers=fields)


def load_assets(folder: Traversable | None = None) -> dict[str, Asset]:
    """Return the files by the paths at which they are served."""
    root = files(__package__).joinpath("assets") if folder is None else folder
    found = {f"/{name}": Asset.of(name, file.read_bytes()) for name, file in _files(root, "")}
    if (index := found.pop(f"/{INDEX}", None)) is not None:
        found["/"] = index
    return found


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    """Yield the files below a folder, without hidden ones, and their names relative to the first folder."""
    for each in folder.iterdir():
        if each.name.startswith("."):
            continue
        if each.is_dir():
            yield from _files(each, f"{prefix}{each.name}/")
        else:
            yield f"{prefix}{each.name}", each
