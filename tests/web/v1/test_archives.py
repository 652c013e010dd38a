"""The sandbox of a job as an archive over /v1."""

from __future__ import annotations

import io
import tarfile

from pagent.config.model import Settings
from tests.web.v1.data import data_site


def packed(*names: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 7
            archive.addfile(entry, io.BytesIO(b"content"))
        device = tarfile.TarInfo("device")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    return data.getvalue()


async def test_an_archive_there_and_back(settings: Settings) -> None:
    async with data_site(settings) as data:
        headers = [("Content-Type", "application/gzip")]
        answer = await data.portal.ask("PUT", f"{data.job}/archive", packed("folder/file", "other"), headers)
        assert (answer.status, answer.json["skipped"]) == (200, 1)
        assert "device" in answer.json["names"][0]
        for query, mode, kind in (
            ("", "r:", "application/x-tar"),
            ("?compress=1", "r:gz", "application/gzip"),
            ("?include=*file&exclude=*.x", "r:", "application/x-tar"),
        ):
            found = await data.portal.ask("GET", f"{data.job}/archive{query}")
            assert (found["Content-Type"], "attachment" in (found["Content-Disposition"] or "")) == (kind, True)
            with tarfile.open(fileobj=io.BytesIO(found.body), mode=mode) as archive:
                member = archive.extractfile("folder/file")
                assert member is not None
                assert member.read() == b"content"
        assert (await data.portal.ask("HEAD", f"{data.job}/archive")).status == 200
        assert (await data.portal.ask("PUT", f"{data.job}/archive", b"no archive", headers)).status == 400
        assert (await data.portal.ask("PUT", f"{data.job}/archive", packed("/etc/x"), headers)).status == 400
        assert (await data.portal.ask("GET", f"{data.job}/archive?compress=2")).status == 400
