"""The one cache on the way of a request: encoded heads by the arguments of ``http_request``.

Pages poll, so the same request comes again and again, and encoding its head takes longer than finding it.
docs/decisions/007-one-request-head-cache.rst has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pagent.http1.heads import RequestHead
from pagent.http1.request import encode_raw_request, encode_request
from pagent.http1.target import Pair

#: Heads that are kept, and bytes of such a head: 2 MiB with their arguments.
_KEPT: Final = 256
_KEPT_BYTES_MAX: Final = 1024


class RequestHeadCache:
    """Encodes requests and keeps the newest small heads; the oldest makes room."""

    def __init__(self) -> None:
        self._heads: dict[tuple[Any, ...], RequestHead] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def encode(
        self,
        method: Any,
        path: Any,
        query: Sequence[Pair],
        headers: Sequence[Pair],
        *,
        authority: str,
        raw: bool,
        upgrade: bool,
    ) -> RequestHead:
        """Return the head of a request; ValueError or TypeError for arguments that make none.

        Arguments that cannot be hashed (lists) are encoded each time. A kept head is of strings alone, so equal
        arguments of other types (as 1 and True) are never found here.
        """
        key = (method, path, query, headers, authority, raw, upgrade)
        try:
            head = self._heads.get(key)
        except TypeError:
            return _encode(method, path, query, headers, authority, raw, upgrade)
        if head is None:
            head = _encode(method, path, query, headers, authority, raw, upgrade)
            if len(head.data) <= _KEPT_BYTES_MAX:
                if len(self._heads) >= _KEPT:
                    del self._heads[next(iter(self._heads))]
                self._heads[key] = head
        return head


def _encode(
    method: Any, path: Any, query: Sequence[Pair], headers: Sequence[Pair], authority: str, raw: bool, upgrade: bool
) -> RequestHead:
    if raw:
        return encode_raw_request(method, path, headers, authority=authority, upgrade=upgrade)
    if upgrade:
        raise ValueError("an upgrade needs raw=True")
    return encode_request(method, path, query, headers, authority=authority, identity=True)
