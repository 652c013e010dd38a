"""What all methods of a job are made of: calls whose first argument is its uid."""

from __future__ import annotations

from typing import Any

from pagent.rpc.aio import StreamCall
from pagent.rpc.connection import Connection


class JobCalls:
    """Calls about one job. None has a time limit: it takes as long as the job takes; cancel it to give it up."""

    def __init__(self, link: Connection, uid: str) -> None:
        self._link = link
        self.uid = uid

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        check_text((args, kwargs))
        return await self._link.call(method, self.uid, *args, timeout=None, **kwargs)

    def _stream(self, call_type: int, method: str, *args: Any, **kwargs: Any) -> StreamCall:
        check_text((args, kwargs))
        return self._link.open_stream(call_type, method, self.uid, *args, **kwargs)


def check_text(value: Any) -> None:
    """ValueError for a lone surrogate anywhere in an argument: no peer could be sent it."""
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
        text = "a name that is not UTF-8 is given as a listing has it"
        raise ValueError(f"not valid Unicode: {value!r}; {text}") from None


def given(**options: Any) -> dict[str, Any]:
    """The options that differ from None, 0 and False: an agent that is not ours knows none of them."""
    return {name: value for name, value in options.items() if value}
