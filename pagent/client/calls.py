"""Calls of methods whose first argument is the uid of a job."""

from __future__ import annotations

from typing import Any

from pagent.client.link import ClientLink
from pagent.errors import NotUnicodeError
from pagent.http1.wire_text import to_wire
from pagent.rpc.aio import StreamCall


class JobCalls:
    """Calls that concern one job. They have no time limit; cancel the task to cancel a call."""

    def __init__(self, link: ClientLink, uid: str) -> None:
        self._link = link
        self.uid = uid

    @property
    def link(self) -> ClientLink:
        """Return the link that the calls use."""
        return self._link

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        check_text((args, kwargs))
        return await self._link.call(method, self.uid, *args, timeout=None, **kwargs)

    def _stream(self, call_type: int, method: str, *args: Any, **kwargs: Any) -> StreamCall:
        check_text((args, kwargs))
        return self._link.open_stream(call_type, method, self.uid, *args, **kwargs)


def check_text(value: Any) -> None:
    """Raise NotUnicodeError for a lone surrogate in an argument: it cannot be sent as UTF-8."""
    if isinstance(value, str):
        if not value.isascii():
            _check_str(value)
    elif isinstance(value, (list, tuple)):
        for one in value:
            check_text(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            check_text(name)
            check_text(one)


def _check_str(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        text = "write a name that is not UTF-8 as a listing has it"
        raise NotUnicodeError(f"not valid Unicode: {value!r}; {text}") from None


def bytes_or_text(text: str) -> str | bytes:
    """Return a text for an argument that takes bytes that are not UTF-8, which the error handler has escaped.

    :raises NotUnicodeError: it has a lone surrogate that ``surrogateescape`` does not make.
    """
    try:
        return to_wire(text)
    except UnicodeEncodeError:
        raise NotUnicodeError(f"not valid Unicode: {text!r}; only U+DC80 to U+DCFF stand for bytes") from None


def given(**options: Any) -> dict[str, Any]:
    """Return the options that differ from None, 0 and False, because an older agent has none of them."""
    return {name: value for name, value in options.items() if value}
