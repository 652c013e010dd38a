"""Whole uploads and downloads."""

from __future__ import annotations

import os
from typing import Any

from pagent.files.download import Download
from pagent.files.upload import Upload
from pagent.jobs.sandbox import Sandbox
from pagent.runtime.threads import Threads

MIB = 1 << 20
BIG = os.urandom(700_000)


async def put(threads: Threads, sandbox: Sandbox, path: str, *parts: bytes, **options: Any) -> int:
    async with await Upload.open(threads, sandbox, path, **options) as upload:
        for part in parts:
            await upload.write(part)
        return await upload.commit()


async def get(threads: Threads, sandbox: Sandbox, path: str, **options: Any) -> bytes:
    async with await Download.open(threads, sandbox, path, **options) as download:
        data = b"".join([chunk async for chunk in download])
        assert len(data) == download.size
        return data


def names(sandbox: Sandbox) -> list[str]:
    return sorted(os.listdir(sandbox.path))
