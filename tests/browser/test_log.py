"""The tab Log of a job: what it keeps of an endless output, and a connection that has died without a word."""

from __future__ import annotations

import pytest

from tests.browser.site import DashboardSite
from tests.kit.browser import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEPT = """
    const { LogLines } = await import("./log_lines.js");
    const lines = new LogLines();
    const text = "x".repeat(16_384);
    const more = () => lines.append(Array.from({ length: 200 }, (_, at) => ({ offset: at, text })));
    const sizes = [];
    for (let round = 0; round < 5; round += 1) {
        more();
        sizes.push([lines.isFull, lines.hasRoom]);
        lines.trim();
    }
    const before = lines.size;
    lines.prepend([{ offset: 0, text: "first" }], { offset: 0, text: "rest" });
    const added = lines.size - before;
    for (let round = 0; round < 5; round += 1) more();
    return [sizes, added, before, lines.isFull, lines.hasRoom, lines.list.textContent.length > before];
"""
#: A log whose second connection must begin where the first one has ended.
RENEWED = r"""
    const { mountLog } = await import("./log.js");
    const api = new EventTarget();
    const asked = [];
    api.refusal = () => null;
    api.fetch = async (method, path, { query, signal }) => {
        const headers = { "X-Pagent-Start": String(query.offset ?? 0), "X-Pagent-Offset": "0" };
        if (method === "HEAD") return new Response(null, { headers });
        asked.push(query.offset);
        const text = asked.length === 1 ? "one line\n" : "and another\n";
        const body = new ReadableStream({
            start(stream) {
                stream.enqueue(new TextEncoder().encode(text));
                signal.addEventListener("abort", () => stream.error(signal.reason));
            },
        });
        return new Response(body, { headers });
    };
    const place = document.createElement("div");
    document.body.append(place);
    const log = mountLog(place, { uid: "0", labels: {} }, api);
    const has = async (text) => {
        while (!place.querySelector(".log-lines").textContent.includes(text)) await new Promise(requestAnimationFrame);
    };
    await has("one line");
    api.dispatchEvent(new Event("lost"));
    await has("one lineand another");
    log.end();
    place.remove();
    return asked;
"""


async def test_what_is_kept_of_an_output_without_end_is_bounded(site: DashboardSite, chromium: Browser) -> None:
    page = await site.open(chromium)
    sizes, added, kept, is_full, has_room, is_larger = await page.run(KEPT)
    assert sizes == [[False, True], [False, True], [True, True], [True, True], [True, True]]
    assert kept <= 16 << 20
    assert added == 2 * len("first") + 2 * len("rest")
    assert is_full
    assert is_larger, "without the end in view nothing is forgotten"
    assert not has_room


async def test_a_connection_that_may_be_dead_is_renewed(site: DashboardSite, chromium: Browser) -> None:
    page = await site.open(chromium)
    assert await page.run(RENEWED) == [0, 9]
