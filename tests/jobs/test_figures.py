from __future__ import annotations

from pathlib import Path

from pagent.jobs.figures import HostFigures


async def test_the_figures_of_this_machine(tmp_path: Path) -> None:
    figures = HostFigures(tmp_path)
    first = await figures.read()
    assert first.disk_free
    assert 0 < first.memory_available < first.memory_total
    assert await figures.read() is first, "not read more often than once a second"
    await figures.close()


async def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    figures = HostFigures(tmp_path / "gone")
    assert (await figures.read()).disk_free is None
    await figures.close()
