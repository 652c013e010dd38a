"""The one cache on the way of a request: encoded heads by the arguments of ``http_request``.

Pages poll, so the same request comes again and again, and encoding its head takes longer than finding it.
docs/decisions/007-one-request-head-cache.rst has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pagent.http1.heads import RequestHead
from pagent.http1.request import encode_raw_lines, encode_raw_request, encode_request
from pagent.http1.target import Pair

#: Heads that are kept, and bytes of such a head: 2 MiB with their arguments.
_KEPT: Final = 256
_KEPT_BYTES_MAX: Final = 1024


class _Kept:
    """A kept head, and the arguments that it was encoded from."""

    __slots__ = ("arguments", "head")

    def __init__(self, arguments: tuple[Any, ...], head: RequestHead) -> None:
        self.arguments = arguments
        self.head = head


class RequestHeadCache:
    """Encodes requests, and keeps small heads of requests that come again.

    The hash of the target alone gives the place of a head: to hash all fields would take as long as to encode them. A
    head is kept when its place is asked for by the same target twice in a row, so that requests that never come again
    replace none and leave nothing.
    """

    def __init__(self) -> None:
        self._heads: list[_Kept | None] = [None] * _KEPT
        self._asked = [0] * _KEPT  # hashes of the targets that asked last

    def __len__(self) -> int:
        return _KEPT - self._heads.count(None)

    def encode(
        self,
        method: Any,
        path: Any,
        query: Sequence[Pair],
        headers: Sequence[Pair] | bytes,
        *,
        authority: str,
        raw: bool,
        upgrade: bool,
    ) -> RequestHead:
        """Return the head of a request; ValueError or TypeError for arguments that make none.

        ``headers`` are bytes if a ``raw`` caller has sent them as lines. Such heads are not kept: a router gives each
        request an id.

        A kept head is of strings alone, so equal arguments of other types (as 1 and True) are never found here.
        """
        if type(path) is not str or isinstance(headers, bytes):
            return _encode(method, path, query, headers, authority, raw, upgrade)
        target = hash(path) ^ hash(authority)
        place = target % _KEPT
        arguments = (method, path, query, headers, authority, raw, upgrade)
        kept = self._heads[place]
        if kept is not None and kept.arguments == arguments:
            return kept.head
        head = _encode(method, path, query, headers, authority, raw, upgrade)
        if self._asked[place] != target:
            self._asked[place] = target
        elif type(headers) is tuple and type(query) is tuple and len(head.data) <= _KEPT_BYTES_MAX:
            self._heads[place] = _Kept(arguments, head)
        return head


def _encode(
    method: Any,
    path: Any,
    query: Sequence[Pair],
    headers: Sequence[Pair] | bytes,
    authority: str,
    raw: bool,
    upgrade: bool,
) -> RequestHead:
    if isinstance(headers, bytes):
        if not raw:
            raise TypeError("headers must be a list of pairs")
        return encode_raw_lines(method, path, headers, authority=authority, upgrade=upgrade)
    if raw:
        return encode_raw_request(method, path, headers, authority=authority, upgrade=upgrade)
    if upgrade:
        raise ValueError("an upgrade needs raw=True")
    return encode_request(method, path, query, headers, authority=authority, identity=True)
