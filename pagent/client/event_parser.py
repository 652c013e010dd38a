"""Parse server-sent events (HTML standard, "Server-sent events"). No socket, no clock."""

from __future__ import annotations

from typing import NamedTuple


class ServerEvent(NamedTuple):
    """One event. ``id`` is the last one that the stream has named."""

    id: str
    name: str
    data: str


class EventParser:
    """Takes bytes, and returns the events that they complete. Lines end with LF or CRLF."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._id = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Take bytes; return the events that are complete."""
        self._line += data
        *lines, rest = self._line.split(b"\n")
        self._line = rest
        found = [self._take(line.removesuffix(b"\r").decode(errors="replace")) for line in lines]
        return [event for event in found if event is not None]

    def _take(self, line: str) -> ServerEvent | None:
        if not line:
            return self._event()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
        return None

    def _event(self) -> ServerEvent | None:
        """End an event; one without data is none."""
        name, self._name = self._name or "message", ""
        data, self._data = self._data, []
        return ServerEvent(self._id, name, "\n".join(data)) if data else None
