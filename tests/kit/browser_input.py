"""The input of a person to a page: keys, text, the pointer, chosen and dropped files.

Names of keys are those of the UI Events standard.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.kit.browser import Page

#: Codes and key codes of the keys that are no characters, and the text that they stand for.
_KEYS: Final[dict[str, tuple[str, int, str]]] = {
    "Enter": ("Enter", 13, "\r"),
    "Tab": ("Tab", 9, ""),
    "Escape": ("Escape", 27, ""),
    " ": ("Space", 32, " "),
    "Backspace": ("Backspace", 8, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    "End": ("End", 35, ""),
    "Home": ("Home", 36, ""),
    "F6": ("F6", 117, ""),
}
_MODIFIERS: Final = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}
#: Tab stops that a page may have before the expected one.
_TABS_MAX: Final = 250


async def press(page: Page, combination: str) -> None:
    """Press a key, or several at once: ``Control+Shift+Escape``."""
    *held, key = combination.split("+") if combination != "+" else ["+"]
    modifiers = sum(_MODIFIERS[each] for each in held)
    if key in _KEYS:
        code, number, text = _KEYS[key]
    else:
        # Key codes of punctuation depend on the keyboard; pages get the character.
        code, number, text = f"Key{key.upper()}" if key.isalpha() else "", ord(key.upper()) if key.isalnum() else 0, key
    if modifiers & ~_MODIFIERS["Shift"]:
        text = ""
    fields: dict[str, Any] = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
    await page.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **fields)
    await page.call("Input.dispatchKeyEvent", type="keyUp", **fields)


async def write(page: Page, text: str) -> None:
    """Type text into the element with the focus; a line feed is Enter."""
    for character in text:
        await press(page, "Enter" if character == "\n" else character)


async def tab_to(page: Page, selector: str, *, back: bool = False) -> None:
    """Press Tab until the element has the focus. AssertionError if it is not reached."""
    for _ in range(_TABS_MAX):
        if await page.run(f"return Boolean(document.activeElement?.matches({selector!r}))"):
            return
        await press(page, "Shift+Tab" if back else "Tab")
    raise AssertionError(f"{selector} is not reached by Tab")


async def click(page: Page, selector: str) -> None:
    """Click the middle of an element, once it is there."""
    x, y = await _middle(page, selector)
    for kind in ("mousePressed", "mouseReleased"):
        await page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


async def choose_files(page: Page, selector: str, files: Sequence[Path]) -> None:
    """Choose files, or a folder, in a field of files."""
    root = (await page.call("DOM.getDocument"))["root"]["nodeId"]
    node = (await page.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
    await page.call("DOM.setFileInputFiles", files=[str(each) for each in files], nodeId=node)


async def drop_files(page: Page, selector: str, files: Sequence[Path]) -> None:
    """Drop files and folders onto an element."""
    x, y = await _middle(page, selector)
    data = {"items": [], "files": [str(each) for each in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        await page.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)


async def _middle(page: Page, selector: str) -> tuple[float, float]:
    script = f"""
        const element = document.querySelector({selector!r});
        if (!element) return null;
        element.scrollIntoView({{block: "center"}});
        const box = element.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + Math.min(box.height, innerHeight) / 2];
    """
    x, y = await page.until(script)
    return x, y
