"""Tickets at a closed router with real jobs: what a browser does with them, and attacks on them."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from pagent.access.passes import EntryCode, TicketPass, sign_code, sign_pass
from pagent.access.signed import SigningKeys, key_id_of
from pagent.config.model import Settings
from pagent.config.router import Access, RouterApps, RouterControl, RouterSettings
from pagent.log import ACCESS_LOG, AUDIT_LOG
from pagent.relay.changes import Change, ChangeKind
from tests.access.conftest import OWN, token
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import ask, running_router
from tests.kit.tickets import FORM, Person, TicketSite, apps_settings, ticket_site
from tests.kit.wire import wire

PORTAL = token("portal", *(f"{scope}!any" for scope in OWN))
UPGRADE = "Connection: Upgrade\r\nUpgrade: echo\r\n"


def closed(folder: Path, **access: object) -> RouterSettings:
    keys = folder / "keys"
    keys.write_text("k" * 32)
    keys.chmod(0o600)
    settings = apps_settings(
        access=Access(**{"tokens": (PORTAL,), "keys_file": keys, **access}),  # type: ignore[arg-type]
        control=RouterControl(access_log=True),
    )
    apps = RouterApps(enabled=True, paths=True, frame_origins=("https://portal.example.org",))
    return replace(settings, apps=apps)


@pytest.fixture
async def site(settings: Settings, tmp_path: Path) -> AsyncIterator[TicketSite]:
    async with ticket_site(settings, closed(tmp_path), jobs=2) as running:
        running.token = "secret-portal"
        yield running


@pytest.fixture
def person(site: TicketSite) -> Person:
    return Person(site.router.apps_port)


def top(url: str) -> str:
    """The address of the job."""
    return url.partition(".pagent/enter")[0]


def code_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["c"][0]


async def test_a_browser_enters(site: TicketSite, person: Person) -> None:
    url = await site.url(subject="Ann", ttl_s=100)
    assert (await person.get(top(url))).status == 401
    # Programs that look at links make GET and HEAD requests; they do not use the code up.
    for method in ("HEAD", "GET", "GET"):
        page = await person.get(url, method=method)
        assert (page.status, page["Cache-Control"], page["Referrer-Policy"]) == (200, "no-store", "no-referrer")
        assert page["Set-Cookie"] is None
    assert 'method="post"' in page.text
    assert "<button>" in page.text
    assert "frame-ancestors 'none'" in (page["Content-Security-Policy"] or "")
    entered = await person.post(url)
    assert (entered.status, entered["Location"]) == (303, "/")
    assert (entered["Cache-Control"], entered["Referrer-Policy"]) == ("no-store", "no-referrer")
    cookie = entered["Set-Cookie"] or ""
    assert re.fullmatch(r"pagent-ticket=[\w.-]+; Path=/; Max-Age=(9\d|100); HttpOnly; SameSite=Lax", cookie)
    got = await person.get(top(url) + "x?c=1")
    assert got.status == 200
    assert got.text.startswith("GET /x?c=1 HTTP/1.1")
    assert "ookie" not in got.text
    # A second browser gets nothing for it.
    again = await Person(person.port).post(url)
    assert (again.status, again["Set-Cookie"]) == (403, None)
    assert (await Person(person.port).get(top(url))).status == 401
    # The list has the ticket, and no secret.
    (listed,) = (await site.portal.get(f"/v1/jobs/{site.jobs[0]}/tickets"))["tickets"]
    assert (listed["subject"], listed["created_by"], listed["embed"]) == ("Ann", "portal", False)
    assert code_of(url) not in json.dumps(listed)


async def test_of_many_at_once_one_enters(site: TicketSite, person: Person) -> None:
    url = await site.url()
    people = [Person(person.port) for _ in range(12)]
    answers = await asyncio.gather(*(each.post(url) for each in people))
    assert sorted(answer.status for answer in answers) == [303] + [403] * 11


async def test_codes_that_are_not_valid(site: TicketSite, person: Person) -> None:
    url, other = await site.url(), await site.url(site.jobs[1])
    good = code_of(url)
    assert (await person.post(other)).status == 303
    forged = SigningKeys([b"x" * 32]).sign("ticket code", b"[]")
    cookie = next(iter(person.cookies.values()))
    bad = ["", "x", good[:-1], good + "A", good[:30] + "A" + good[31:], forged, cookie, code_of(other), "A" * 7000]
    bad += ["<script>", "%00", "é"]
    for code in bad:
        answer = await person.post(url, code)
        assert (answer.status, answer["Set-Cookie"]) == (403, None), code
        page = await person.get(f"{top(url)}.pagent/enter?c={code.replace('é', '%C3%A9')}", [("Accept", "text/html")])
        assert page.status == 403
        assert "script" not in page.text
    assert (await person.post(url, "A" * 10_000)).status == 413
    target = urlsplit(url)
    assert (await ask(person.port, "PUT", target.path, host=target.netloc)).status == 405
    # None of them has used the code up; it may also stay in the address.
    assert (await ask(person.port, "POST", f"{target.path}?c={good}", b"", FORM, host=target.netloc)).status == 303


async def test_a_ticket_is_for_one_job_port_and_place(site: TicketSite, person: Person) -> None:
    url = await site.url()
    uid, other = site.jobs
    at = f"localhost:{person.port}"
    places = [f"http://{other}.{at}/", f"http://{uid}--80.{at}/", f"http://127.0.0.1:{person.port}/{uid}/"]
    for place in places:
        assert (await person.post(f"{place}.pagent/enter?c={code_of(url)}")).status == 403
    assert (await person.post(url)).status == 303
    for place in places:
        assert (await person.get(place)).status == 401
    assert (await person.get(f"http://{uid.upper()}.LOCALHOST./")).status == 200
    # A token is presented with each request: a ticket adds nothing to a wrong one.
    assert (await person.get(top(url), [("X-Pagent-Token", "wrong")])).status == 401


async def test_two_ports(site: TicketSite, person: Person) -> None:
    program = """
import http.server, sys, threading
handler = http.server.SimpleHTTPRequestHandler
servers = [http.server.HTTPServer(("127.0.0.1", int(port)), handler) for port in sys.argv[1:]]
threading.Thread(target=servers[1].serve_forever).start()
servers[0].serve_forever()
"""
    job = await site.start_job(program=program, more_ports={"b": "auto"})
    ports = (await site.portal.get(f"/v1/jobs/{job}"))["ports"]
    assert len((await site.make(job))["urls"]) == 1
    urls = (await site.make(job, ports=ports))["urls"]
    assert list(urls) == [str(port) for port in ports]
    assert f"{job}.localhost" in urls[str(ports[0])]
    assert f"{job}--{ports[1]}.localhost" in urls[str(ports[1])]
    assert (await person.post(urls[str(ports[0])])).status == 303
    assert (await person.get(top(urls[str(ports[1])]))).status == 401
    second = Person(person.port)
    assert (await second.post(urls[str(ports[1])])).status == 303
    got = await second.get(top(urls[str(ports[1])]))
    assert got.status == 200
    assert f"{job}.localhost" in (got["Content-Security-Policy"] or "")
    # A page of one port may use the other one.
    origin = top(urls[str(ports[0])]).rstrip("/")
    for fields in ([("Origin", origin)], [("Referer", origin + "/")]):
        headers = [*fields, ("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "cors")]
        assert (await second.get(top(urls[str(ports[1])]), headers)).status == 200
    bad = await site.portal.ask("POST", f"/v1/jobs/{job}/tickets", {"ports": [1]})
    assert bad.status == 400


async def test_pages_of_other_jobs_and_sites(site: TicketSite, person: Person) -> None:
    url = await site.url()
    await person.post(url)
    own = top(url).rstrip("/")
    other = own.replace(site.jobs[0], site.jobs[1])
    cases: list[tuple[int, dict[str, str]]] = [
        (200, {"Origin": own}),
        (200, {"Origin": own, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}),
        (200, {"Origin": "null", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}),
        (200, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}),
        (200, {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}),
        (403, {"Origin": other}),
        (403, {"Origin": "https://example.org"}),
        (403, {"Origin": "null"}),
        (403, {"Origin": own.rpartition(":")[0]}),
        (403, {"Origin": f"{own}, {own}"}),
        (403, {"Origin": "null", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}),
        (403, {"Origin": other, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}),
        (403, {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}),
        (403, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Referer": f"{other}/"}),
        (403, {"Sec-Fetch-Site": "same-site"}),
        (403, {"Sec-Fetch-Site": "unheard-of", "Sec-Fetch-Mode": "cors"}),
    ]
    for status, fields in cases:
        assert (await person.get(top(url), fields.items())).status == status, fields
    framed = await person.get(top(url), [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")])
    assert framed["Content-Security-Policy"] == "frame-ancestors 'self'"
    for origin, status in ((own, b"101"), (other, b"403"), ("https://example.org", b"403")):
        jar = f"Cookie: pagent-ticket={person.cookies['pagent-ticket']}\r\n"
        async with wire(person.port) as client:
            host = urlsplit(url).netloc
            client.say(f"GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n{jar}{UPGRADE}\r\n".encode())
            assert str((await client.head())[0]).encode() == status


async def test_tossed_cookies(site: TicketSite, person: Person) -> None:
    """A sibling sets a cookie of the same name for the parent domain: the browser sends both, in either order."""
    url, other = await site.url(), await site.url(site.jobs[1])
    await person.post(url)
    sibling = Person(person.port)
    await sibling.post(other)
    own, tossed = person.cookies["pagent-ticket"], sibling.cookies["pagent-ticket"]
    for values in ([own, tossed], [tossed, own], ["x", own], [f"{own}x", tossed, own]):
        jar = "; ".join(f"pagent-ticket={value}" for value in values)
        assert (await Person(person.port).get(top(url), [("Cookie", jar)])).status == 200
        several = [("Cookie", f"pagent-ticket={value}") for value in values]
        assert (await Person(person.port).get(top(url), several)).status == 200
    others = ("Pagent-Ticket", "pagent-ticket2", "__Host-pagent-ticket")
    for jar in (f"pagent-ticket={tossed}", *(f"{name}={own}" for name in others)):
        assert (await Person(person.port).get(top(url), [("Cookie", jar)])).status == 401
    assert (await person.get(top(other))).status == 401


async def test_embed(site: TicketSite, person: Person) -> None:
    url = await site.url(embed=True)
    page = await person.get(url)
    assert "frame-ancestors https://portal.example.org" in (page["Content-Security-Policy"] or "")
    entered = await person.post(url)
    assert (entered["Set-Cookie"] or "").endswith("; HttpOnly; SameSite=None; Secure; Partitioned")
    got = await person.get(top(url), [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")])
    assert got["Content-Security-Policy"] == "frame-ancestors 'self' https://portal.example.org"
    assert (await person.get(top(url), [("Sec-Fetch-Mode", "cors")]))["Content-Security-Policy"] is None


# --- the end of a ticket ----------------------------------------------------------------------------


async def opened(person: Person, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An upgrade of a browser with a ticket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", person.port)
    jar = f"Cookie: pagent-ticket={person.cookies['pagent-ticket']}"
    writer.write(f"GET / HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n{jar}\r\n{UPGRADE}\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    return reader, writer


async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


async def test_revocation(site: TicketSite, person: Person) -> None:
    made = await site.make()
    (url,) = made["urls"].values()
    await person.post(url)
    streams = await opened(person, url)
    path = f"/v1/jobs/{site.jobs[0]}/tickets"
    assert (await site.portal.ask("DELETE", f"{path}/unknown")).status == 404
    assert (await site.portal.ask("DELETE", f"{path}/{made['id']}")).status == 204
    await ended(*streams)
    over = await person.get(top(url))
    assert over.status == 401
    assert "not valid any more" in over.text
    assert (await site.portal.get(path))["tickets"] == []
    assert (await site.portal.ask("DELETE", f"{path}/{made['id']}")).status == 404
    # A code of a revoked ticket, which was not used.
    unused = await site.make()
    await site.portal.ask("DELETE", f"{path}/{unused['id']}")
    assert (await person.post(*unused["urls"].values())).status == 403


async def test_expiry(site: TicketSite, person: Person) -> None:
    url = await site.url(ttl_s=2, code_s=1)
    unused = await site.url(code_s=1)
    await person.post(url)
    streams = await opened(person, url)
    await ended(*streams)
    assert (await person.get(top(url))).status == 401
    assert (await person.post(unused)).status == 403
    assert (await site.portal.get(f"/v1/jobs/{site.jobs[0]}/tickets"))["tickets"] == []


async def test_keys_are_rotated(site: TicketSite, person: Person, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    url = await site.url()
    await person.post(url)
    streams = await opened(person, url)

    async def rotate(*lines: str) -> None:
        before = key_id_of(code_of(await site.url()))
        keys.write_text("\n".join(lines))
        site.router.reload(lambda: closed_again(tmp_path))
        async with asyncio.timeout(PATIENCE_S):
            while key_id_of(code_of(await site.url(code_s=1))) == before:  # noqa: ASYNC110 - a thread reads the file
                await asyncio.sleep(0.05)

    await rotate("n" * 32, "k" * 32)
    assert (await person.get(top(url))).status == 200
    later = Person(person.port)
    new = await site.url()
    assert (await later.post(new)).status == 303
    streams[1].write(b"again")
    assert await streams[0].readexactly(5) == b"again"
    await rotate("o" * 32, "n" * 32)
    await ended(*streams)
    assert (await person.get(top(url))).status == 401
    assert (await later.get(top(new))).status == 200


def closed_again(folder: Path) -> RouterSettings:
    """The same settings, with the file of keys as it is now."""
    text = (folder / "keys").read_text()
    settings = closed(folder)
    (folder / "keys").write_text(text)
    return settings


async def test_tickets_end_with_their_token(site: TicketSite, person: Person, tmp_path: Path) -> None:
    url = await site.url()
    await person.post(url)
    streams = await opened(person, url)
    # Another secret of the same name.
    renamed = replace(PORTAL, sha256=token("x").sha256)
    site.router.reload(lambda: closed(tmp_path, tokens=(renamed, token("root", "proxy!any", "read!any"))))
    admin = replace(site)
    admin.token = "secret-root"
    async with asyncio.timeout(PATIENCE_S):
        while (await admin.portal.ask("GET", "/v1/whoami")).status != 200:
            pass
    assert (await person.get(top(url))).status == 200
    site.router.reload(lambda: closed(tmp_path, tokens=(token("root", "proxy!any", "read!any"),)))
    await ended(*streams)
    assert (await person.get(top(url))).status == 401
    async with asyncio.timeout(PATIENCE_S):
        while (await admin.portal.get(f"/v1/jobs/{site.jobs[0]}/tickets"))["tickets"]:
            pass


async def test_clocks_of_other_routers(site: TicketSite, person: Person) -> None:
    """Cookies that a router with the same keys has made, whose clock differs by up to a minute."""
    now = int(time.time())
    uid, host = site.jobs[0], f"{site.jobs[0]}.localhost"
    entry = TicketPass(host, site.agent.uid, uid, (80,), "Ann", "of-another", now, now + 100)
    keys = SigningKeys([b"k" * 32])
    cases = [(0, 100, 200), (50, 100, 200), (75, 100, 401), (-100, -45, 200), (-100, -75, 401)]
    for issued, expires, status in cases:
        value = sign_pass(keys, entry._replace(issued=now + issued, expires=now + expires))
        person.cookies = {"pagent-ticket": value}
        assert (await person.get(f"http://{host}/")).status == status, (issued, expires)
    for other in (
        entry._replace(agent="other"),
        entry._replace(job=site.jobs[1]),
        entry._replace(place=f"{site.jobs[1]}.localhost"),
    ):
        person.cookies = {"pagent-ticket": sign_pass(keys, other)}
        assert (await person.get(f"http://{host}/")).status == 401
    person.cookies = {"pagent-ticket": sign_pass(keys, entry._replace(place=f"{uid}--81.localhost"))}
    assert (await person.get(f"http://{uid}--81.localhost/")).status == 401
    # A code of a ticket that no note backs.
    code = sign_code(keys, EntryCode(entry, embed=False, until=now + 100))
    assert (await person.post(f"http://{host}/.pagent/enter?c={code}")).status == 403


# --- two routers, and what is logged ----------------------------------------------------------------


async def test_a_code_is_good_once_over_two_routers(settings: Settings, tmp_path: Path) -> None:
    async with (
        running_router(closed(tmp_path)) as second,
        ticket_site(settings, closed(tmp_path), others=[second]) as site,
    ):
        site.token = "secret-portal"
        await check_two_routers(site)


async def check_two_routers(site: TicketSite) -> None:
    made = [await site.make(), await site.make(subject="moved"), await site.make()]
    urls = [next(iter(each["urls"].values())) for each in made]
    assert site.others
    people = [Person(site.router.apps_port), Person(site.others[0].apps_port)]
    for url in urls[:2]:
        answers = await asyncio.gather(*(each.post(url) for each in people * 3))
        assert sorted(answer.status for answer in answers) == [303] + [403] * 5
    # Each router lets in what the other one has made, and revokes it.
    entered = next(each for each in people if each.cookies)
    both = [replace(entered, port=each.port) for each in people]
    assert [(await each.get(top(urls[1]))).status for each in both] == [200, 200]
    streams = [await opened(each, urls[1]) for each in both]
    other = TicketSite(site.others[0], site.agent, site.jobs, site.token)
    path = f"/v1/jobs/{site.jobs[0]}/tickets"
    listed = [await each.portal.get(path) for each in (site, other)]
    assert listed[0] == listed[1]
    assert (await other.portal.ask("DELETE", f"{path}/{made[1]['id']}")).status == 204
    for each in streams:
        await ended(*each)
    assert [(await each.get(top(urls[1]))).status for each in both] == [401, 401]
    # What the other router has seen end is over, whatever the clocks say.
    await other.portal.ask("DELETE", f"{path}/{made[2]['id']}")
    assert (await people[0].post(urls[2])).status == 403


async def test_what_is_logged(site: TicketSite, person: Person, caplog: pytest.LogCaptureFixture) -> None:
    changes: list[Change] = []
    site.router.directory.changes.subscribe(changes.append)
    with caplog.at_level(logging.DEBUG):
        made = await site.make(subject="Ann")
        (url,) = made["urls"].values()
        await person.get(url)
        await person.post(url)
        await person.post(url)
        await person.get(top(url))
        await site.portal.ask("DELETE", f"/v1/jobs/{site.jobs[0]}/tickets/{made['id']}")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == AUDIT_LOG]
    assert [(line["operation"], line["result"], line["subject"]) for line in lines] == [
        ("ticket_create", "ok", "portal"),
        ("ticket_enter", "ok", "Ann"),
        ("ticket_enter", "403", "Ann"),
        ("ticket_revoke", "ok", "portal"),
    ]
    assert all(line["job"] == site.jobs[0] for line in lines)
    logged = [json.loads(record.getMessage()) for record in caplog.records if record.name == ACCESS_LOG]
    assert "Ann" in [line["subject"] for line in logged]
    events = [change for change in changes if change.kind in (ChangeKind.TICKET_CREATED, ChangeKind.TICKET_REVOKED)]
    assert [change.kind.value for change in events] == ["ticket.created", "ticket.revoked"]
    assert events[0].data is not None
    assert events[0].data["subject"] == "Ann"
    everything = caplog.text + repr([change.data for change in events])
    assert code_of(url) not in everything
    assert person.cookies["pagent-ticket"] not in everything
