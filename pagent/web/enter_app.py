"""The pages of the apps listener by which a browser enters with a ticket (docs/access.rst, "Tickets").

GET answers a page that sends the code by itself. Programs that look at a link before a person does, such as those of
mail and chat, make GET requests and run no scripts, so they do not use the code up.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web

from pagent.access.audit import AuditEntry, audited
from pagent.access.ticket_cookies import is_secure, set_cookie
from pagent.access.ticket_gate import JobPages
from pagent.access.tickets import NOT_VALID, Entered, Tickets
from pagent.errors import AccessDeniedError, RequestRefusedError
from pagent.http1.job_names import JobPlace
from pagent.router_limits import ENTER_BODY_MAX
from pagent.rpc.directory import ANY_CONNECTION, JobAddress, Subject
from pagent.web.admission import handed_over
from pagent.web.failures import EXPECTED, answer_to
from pagent.web.handover import body_pieces, until_the_end
from pagent.web.local import Handler
from pagent.web.routes import Routes

_SEE_OTHER: Final = 303
_FORM: Final = "application/x-www-form-urlencoded"
_is_code = re.compile(r"[A-Za-z0-9_.-]+").fullmatch

_SCRIPT: Final = "document.forms[0].submit()"
_SCRIPT_HASH: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_PAGE: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Open</title></head>
<body><form method="post" action="enter"><input type="hidden" name="c" value="{{code}}"><button>Open</button></form>
<script>{_SCRIPT}</script></body></html>
"""
_ERROR_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Not open</title></head>
<body><p>{text}</p></body></html>
"""
#: Neither a cache nor the next page learns of the code.
_FIELDS: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class EnterPages:
    """GET and POST of ``/.pagent/enter``, at the host or below the path of a job.

    :param check_beyond: raises RequestRefusedError if the listener serves no clients.
    """

    def __init__(self, routes: Routes, tickets: Tickets, pages: JobPages, check_beyond: Callable[[], None]) -> None:
        self._routes = routes
        self._tickets = tickets
        self._pages = pages
        self._check_beyond = check_beyond

    async def page(self, request: web.Request) -> web.Response:
        """Answer with the page that sends the code."""
        self._check_beyond()
        code = request.query.get("c", "")
        found = self._tickets.look_at(_checked(code), self._place(request))
        policy = [
            "default-src 'none'",
            f"script-src 'sha256-{_SCRIPT_HASH}'",
            "form-action 'self'",
            "base-uri 'none'",
            self._ancestors(found.embed),
        ]
        return web.Response(
            text=_PAGE.format(code=html.escape(code)),
            content_type="text/html",
            headers={**_FIELDS, "Content-Security-Policy": "; ".join(policy)},
        )

    def _ancestors(self, embed: bool) -> str:
        origins = self._pages.frame_origins if embed else ()
        return " ".join(["frame-ancestors", *(origins or ["'none'"])])

    async def enter(self, request: web.Request) -> web.Response:
        """Set the cookie for a code, and use the code up."""
        self._check_beyond()
        place = self._place(request)
        code = _checked(await _code(request))
        found = self._tickets.look_at(code, place).entry
        http = handed_over(request)
        http.subject = Subject(found.subject)
        entry = AuditEntry("ticket_enter", http.request_id, subject=found.subject, job=found.job)
        entry.agent = found.agent
        with audited(entry):
            await self._routes.locate(JobAddress(ANY_CONNECTION, found.job))
            entered = await self._tickets.enter(code, place)
        return self._entered(request, place, entered)

    def _entered(self, request: web.Request, place: JobPlace, entered: Entered) -> web.Response:
        http = handed_over(request)
        secure = is_secure(http.head, http.client, self._pages.is_secure)
        cookie = set_cookie(place, entered.cookie, entered.seconds, secure=secure, embed=entered.embed)
        return web.Response(status=_SEE_OTHER, headers={**_FIELDS, "Set-Cookie": cookie, "Location": place.path})

    def _place(self, request: web.Request) -> JobPlace:
        place = self._pages.place(handed_over(request).head)
        if place is None:
            raise RequestRefusedError(404, "this host name is of no job")
        return place


def _checked(code: str) -> str:
    if _is_code(code) is None:
        raise AccessDeniedError(403, NOT_VALID)
    return code


async def _code(request: web.Request) -> str:
    """Return the code of a POST, from the form that the page sends, otherwise from the address."""
    body = bytearray()
    async for piece in body_pieces(request):
        body += piece
        if len(body) > ENTER_BODY_MAX:
            raise RequestRefusedError(413, f"the body is longer than {ENTER_BODY_MAX} bytes")
    if request.content_type == _FORM:
        codes = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8).get("c")
        if codes:
            return codes[0]
    return request.query.get("c", "")


def enter_app(routes: Routes, tickets: Tickets, pages: JobPages, check_beyond: Callable[[], None]) -> web.Application:
    """Return the application that takes over requests to enter."""
    handlers = EnterPages(routes, tickets, pages, check_beyond)
    app = web.Application(middlewares=[until_the_end, _answered])
    resource = app.router.add_resource("/{path:.*}")  # the front hands over no other
    resource.add_route("GET", handlers.page)
    resource.add_route("HEAD", handlers.page)
    resource.add_route("POST", handlers.enter)
    return app


@web.middleware
async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors with a page for people if the client accepts one, and never repeat text of the request."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.Response(text=error.reason, status=error.status, headers={"Allow": error.headers.get("Allow", "")})
    except EXPECTED as error:
        answer = answer_to(error)
    except ValueError:
        answer = web.Response(text="the body is not a valid form", status=400)
    if "text/html" in request.headers.get("Accept", ""):
        kept = {name: value for name, value in answer.headers.items() if name == "Retry-After"}
        page = _ERROR_PAGE.format(text=html.escape(answer.text or ""))
        policy = {"Content-Security-Policy": "default-src 'none'"}
        answer = web.Response(text=page, status=answer.status, content_type="text/html", headers={**kept, **policy})
    answer.headers.update(_FIELDS)
    return answer
