"""Writing several buffers with one system call.

A loop's transport takes a list of buffers, but writes one after the other (uvloop) or joins them first (asyncio before
3.12); between two processes on one host each system call is a segment and a wake-up of its reader.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from pagent.buffers import Bytes, behind

#: Buffers of one call: IOV_MAX of Linux, macOS and the BSDs.
_BUFFERS_MAX: Final = 1024
_HAVE_WRITEV: Final = sys.platform != "win32"


class VectoredWriter:
    """Writes to the socket of a transport, past it while it has nothing of its own to write."""

    __slots__ = ("_descriptor", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._descriptor = -1
        socket = transport.get_extra_info("socket")
        if socket is not None and _HAVE_WRITEV and transport.get_extra_info("sslcontext") is None:
            self._descriptor = socket.fileno()

    def write(self, buffers: list[Bytes]) -> None:
        """Write the buffers in order: what the kernel takes now, the rest through the transport.

        An error is the transport's to meet: it tells its protocol.
        """
        transport = self._transport
        if transport.is_closing():
            return
        if self._descriptor >= 0 and not transport.get_write_buffer_size():
            try:
                done = os.writev(self._descriptor, buffers[:_BUFFERS_MAX])
            except OSError:
                done = 0
            if done:
                buffers = behind(buffers, done)
        if buffers:
            transport.writelines(buffers)
