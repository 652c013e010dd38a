"""Values that are signed with a key of ``access.keys_file`` (docs/access.rst, "Keys").

A value is three parts with dots between them: the id of the key, the content in base64url, and HMAC-SHA256 over both.
Each purpose has keys of its own, which are derived from those of the file, so a value made for one purpose is not valid
for another. A value is decoded only after its signature is verified.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

from pagent.router_limits import SIGNED_VALUE_MAX

_ID_CHARS: Final = 8
_RANDOM_BYTES: Final = 32
_SHA256: Final = "sha256"


class SigningKeys:
    """Keys in force: the first one signs, and all verify."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._by_id = {_id_of(key): key for key in keys}
        self._signing = next(iter(self._by_id))
        self._derived: dict[tuple[str, str], bytes] = {}

    @classmethod
    def random(cls) -> SigningKeys:
        """Return a key that only this process has."""
        return cls([secrets.token_bytes(_RANDOM_BYTES)])

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._by_id

    def sign(self, purpose: str, content: bytes) -> str:
        """Return the value that proves a content. Its characters are those of base64url, and dots."""
        text = f"{self._signing}.{_encode(content)}"
        return f"{text}.{self._signature(purpose, self._signing, text)}"

    def verify(self, purpose: str, value: str) -> bytes | None:
        """Return the content of a value; None for one that was not made with one of the keys for this purpose."""
        text, dot, signature = value.rpartition(".")
        key_id, inner_dot, content = text.partition(".")
        if not (dot and inner_dot) or len(value) > SIGNED_VALUE_MAX or key_id not in self._by_id or not value.isascii():
            return None
        if not hmac.compare_digest(self._signature(purpose, key_id, text), signature):
            return None
        return base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))

    def _signature(self, purpose: str, key_id: str, text: str) -> str:
        key = self._derived.get((purpose, key_id))
        if key is None:
            label = f"pagent {purpose} {key_id}".encode()
            key = self._derived[purpose, key_id] = hmac.digest(self._by_id[key_id], label, _SHA256)
        return _encode(hmac.digest(key, text.encode(), _SHA256))


def key_id_of(value: str) -> str:
    """Return the id of the key of a value that was verified."""
    return value.partition(".")[0]


def _id_of(key: bytes) -> str:
    """Return the public name of a key, which does not reveal the key."""
    return hashlib.sha256(b"pagent key id\0" + key).hexdigest()[:_ID_CHARS]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
