"""Count the payload bytes of streams."""

from __future__ import annotations


class Traffic:
    """The bytes of all streams that count here, for example of those of one job.

    Each message is added when it arrives or is sent. So nothing is kept for an open stream, of which there may be
    thousands.
    """

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
