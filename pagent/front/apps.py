"""Decide which job a request to the ``apps`` listener is for (docs/router.rst, "The apps listener").

In host mode each job has a host name, so for a browser it is an origin of its own. In path mode jobs share the origin
of the listener, each below a path, and the heads of their answers are rewritten.
"""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import Final
from urllib.parse import unquote

from pagent.config.router import RouterApps
from pagent.errors import ConfigError, RedirectError, RequestRefusedError
from pagent.front.routes import JobTarget
from pagent.http1.incoming import IncomingHead
from pagent.http1.job_names import (
    PLACE,
    AddressForm,
    JobHosts,
    JobName,
    JobPlace,
    name_in_path,
    path_name,
    place_in_path,
)
from pagent.http1.mounted import Mount
from pagent.router_limits import APPS_LOGGED_MAX
from pagent.rpc.directory import JobAddress

_log = logging.getLogger(__name__)

_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
#: Any agent that has the job.
_ANY: Final = "-"

_is_origin = re.compile(r"https?://[0-9A-Za-z.\-\[\]:]+").fullmatch
_OWN: Final = "/.pagent"
#: Where a browser enters with a ticket.
ENTER: Final = f"{_OWN}/enter"
#: Beginnings of a path that are its first segment, or none, in another spelling.
_UNUSUAL: Final = ("/.", "//", "/%")
_has_encoded = re.compile(r"%(?:2[ef]|5c)", re.IGNORECASE).search


class AppRoutes:
    """The route of requests, by their Host or the start of their path. ConfigError if a setting cannot be used."""

    def __init__(self, settings: RouterApps) -> None:
        try:
            self._hosts = JobHosts(settings.domain)
        except ValueError as error:
            raise ConfigError(f"apps.domain: {error}") from None
        try:
            self._form = AddressForm(settings.url) if settings.url is not None else None
        except ValueError as error:
            raise ConfigError(f"apps.url: {error}") from None
        for index, origin in enumerate(settings.frame_origins):
            if _is_origin(origin) is None:
                raise ConfigError(f"apps.frame_origins[{index}]: {origin!r} is not an origin, as https://example.org")
        self.frame_origins = settings.frame_origins
        self._scheme = "http" if settings.tls.certificate is None else "https"
        self._paths = settings.paths
        #: Port of the listener; 0 if it is closed.
        self.port = 0
        self._logged: set[str] = set()
        #: Cookies that path mode has left out, because their names ask for a whole origin.
        self.dropped_cookies = 0

    def addresses(self, port: int) -> AddressForm:
        """Return the form of the jobs' addresses; ``port``: that of the listener, in use without ``apps.url``."""
        return self._form or AddressForm(f"{self._scheme}://{PLACE}.{self._hosts.domain}:{port}")

    @property
    def is_secure(self) -> bool | None:
        """Whether browsers reach jobs over https, as ``apps.url`` says; None if it is not set."""
        return None if self._form is None else self._form.is_secure

    def place(self, head: IncomingHead) -> JobPlace | None:
        """Return the place that a request is for; None if it is for no job."""
        name = self._hosts.name_in(head.host)
        if name is not None:
            return self._hosts.place_of(name)
        if not self._paths or self._hosts.is_below(head.host) or (found := name_in_path(head.target)) is None:
            return None
        return place_in_path(found.prefix, found.name)

    def entrance(self, uid: str, port: int | None) -> tuple[JobPlace, str] | None:
        """Return the place of a job as :meth:`addresses` has it, and the address to enter there with a ticket.

        ``port``: None for the job's main port. None if the listener is not open.
        """
        if not self.port:
            return None
        form, name = self.addresses(self.port), JobName(uid, port)
        address = form.address_of(uid, port)
        if form.path is None:
            return self._hosts.place_of(name), address.rstrip("/") + ENTER
        start = "/abs" if form.path.endswith("/abs/") else ""
        return place_in_path(f"{start}/{path_name(name)}", name), address.rstrip("/") + ENTER

    def page_of(self, origin: str) -> JobName | None:
        """Return the job whose pages have this origin, None if it is of none."""
        return self._hosts.name_in(origin.partition("://")[2])

    def host_source(self, head: IncomingHead, name: JobName) -> str | None:
        """Return the host of a job, with the port that the browser of a request has; None below a path."""
        if self._hosts.name_in(head.host) is None:
            return None
        _, colon, port = head.host.rpartition(":")
        return self._hosts.place_of(name).text + (colon + port if port.isdigit() else "")

    def route(self, head: IncomingHead) -> JobTarget | None:
        """Return the target of a request, or None to enter with a ticket; RequestRefusedError if it names no job."""
        name = self._hosts.name_in(head.host)
        if name is None:
            return self._route_path(head)
        target = head.target
        if _enters(target):
            return None
        if is_own(target):
            raise _not_in_use()
        if head.upgrade:
            self._check_origin(head, name)
        return JobTarget(JobAddress(_ANY, name.uid), "", target, name.port)

    def _route_path(self, head: IncomingHead) -> JobTarget | None:
        if not self._paths or self._hosts.is_below(head.host):
            raise self._unknown_host(head)
        found = name_in_path(head.target)
        if found is None:
            raise RequestRefusedError(_NOT_FOUND, "this path names no job: it begins with /<32 hexadecimal digits>/")
        name, prefix, is_kept = found
        target = head.target[len(prefix) :]
        if not target.startswith("/"):
            raise RedirectError(f"{prefix}/{target}")
        if _enters(target):
            return None
        if is_own(target):
            raise _not_in_use()
        if "script" in head.value("service-worker").lower():
            # Its scripts would outlive the job, on an origin that is not the job's alone.
            raise RequestRefusedError(_FORBIDDEN, "path mode has no service workers: open the job by its own host name")
        if head.upgrade:
            self._check_origin(head, name)
        mount = Mount(prefix, partial(self._cookie_dropped, name.uid))
        if is_kept:
            prefix, target = "", head.target
        return JobTarget(JobAddress(_ANY, name.uid), prefix, target, name.port, mount)

    def _check_origin(self, head: IncomingHead, name: JobName) -> None:
        """RequestRefusedError if a page of another job asks for a WebSocket.

        Browsers do not ask a server whether a page of another origin may read a WebSocket, as they do for other
        requests. The origin of a sandboxed frame is "null".
        """
        origin = head.value("origin")
        page = self.page_of(origin)
        if origin == "null" or (page is not None and page.uid != name.uid):
            raise RequestRefusedError(_FORBIDDEN, "pages of another job open no WebSockets to this one")

    def _unknown_host(self, head: IncomingHead) -> RequestRefusedError:
        form = f"<job>.{self._hosts.domain} or <job>--<port>.{self._hosts.domain}, where <job> is 32 hexadecimal digits"
        if not head.host:
            return RequestRefusedError(_BAD_REQUEST, f"the request has no Host: jobs are found by it, as {form}")
        return RequestRefusedError(_NOT_FOUND, f"this host name is of no job: it has to be {form}")

    def _cookie_dropped(self, uid: str) -> None:
        self.dropped_cookies += 1
        if uid not in self._logged and len(self._logged) < APPS_LOGGED_MAX:
            self._logged.add(uid)
            _log.warning("job %s sets a cookie named __Host-*, which path mode leaves out: use its host name", uid)


def _enters(target: str) -> bool:
    return target.startswith(ENTER) and target.partition("?")[0] == ENTER


def is_own(target: str) -> bool:
    """Return whether the path of a target is ``/.pagent`` or below it, in any spelling that a server may resolve."""
    path = target.partition("?")[0]
    if not (
        path.startswith(_UNUSUAL) or ".." in path or "\\" in path or ("%" in path and _has_encoded(path) is not None)
    ):
        return False
    kept: list[str] = []
    for segment in unquote(path, errors="replace").replace("\\", "/").split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return bool(kept) and f"/{kept[0]}" == _OWN


def _not_in_use() -> RequestRefusedError:
    return RequestRefusedError(_NOT_FOUND, f"paths below {_OWN} are the router's own, and this one is not in use")
