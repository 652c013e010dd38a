"""The look of a page: the size of the window, the theme, pictures, and the findings of axe-core."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.kit.browser import Page

_AXE: Final = Path(__file__).parents[1] / "browser/vendor/axe.min.js"
#: Impacts that a page may not have.
_REFUSED: Final = ("serious", "critical")


@dataclass(frozen=True)
class View:
    """A window. ``scale``: device pixels of one CSS pixel."""

    width: int
    height: int
    is_phone: bool = False
    scale: float = 1


DESKTOP: Final = View(1280, 800)
PHONE: Final = View(360, 640, is_phone=True)


async def resize(page: Page, view: View) -> None:
    """Give the page a window of this size."""
    metrics = {"width": view.width, "height": view.height, "deviceScaleFactor": view.scale, "mobile": view.is_phone}
    await page.call("Emulation.setDeviceMetricsOverride", **metrics)
    await page.call("Emulation.setTouchEmulationEnabled", enabled=view.is_phone)


async def set_theme(page: Page, theme: str) -> None:
    """Prefer ``dark`` or ``light``, as the system of a person does, and no transitions, which have other contrasts."""
    features = {"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"}
    await page.call(
        "Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in features.items()]
    )


async def picture(page: Page) -> bytes:
    """Return the displayed part of the page as a PNG."""
    return base64.b64decode((await page.call("Page.captureScreenshot", format="png"))["data"])


async def axe_findings(page: Page) -> list[str]:
    """Return the serious and critical violations that axe-core finds in the page as it is."""
    if not await page.run("return typeof axe === 'object'"):
        await page.call("Runtime.evaluate", expression=_axe_source())
    script = "return (await axe.run(document, {resultTypes: ['violations']})).violations"
    found: Any = await page.run(script)
    assert isinstance(found, list), found
    return [
        f"{each['id']} ({each['impact']}): {node['target']} {node['failureSummary']}"
        for each in found
        if each["impact"] in _REFUSED
        for node in each["nodes"]
    ]


@cache
def _axe_source() -> str:
    return _AXE.read_text()


async def horizontal_overflow(page: Page) -> list[str]:
    """Return the elements that make the page wider than its window; none without horizontal scrolling."""
    script = """
        const width = document.documentElement.clientWidth;
        if (document.documentElement.scrollWidth <= width && document.body.scrollWidth <= width) return [];
        return [...document.querySelectorAll("body *")]
            .filter(each => each.getBoundingClientRect().right > width + 1)
            .map(each => `${each.tagName}.${each.className}`).slice(0, 10);
    """
    found: list[str] = await page.run(script)
    return found
