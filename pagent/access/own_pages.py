"""Recognise requests of pages that are not the job's own (docs/access.rst, "Other pages").

For a browser the jobs of one domain are one site: it sends the cookie of a job with requests of pages of its sibling
jobs, also a cookie with SameSite=Lax. So a request that a cookie lets in is refused if a page of another origin has
caused it. It may still be opened, as by a link.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pagent.access.hosts import authority
from pagent.http1.incoming import IncomingHead
from pagent.http1.job_names import JobName

_OWN_SITES: Final = ("", "none", "same-origin")
_SAME_ORIGIN: Final = "same-origin"
_NAVIGATE: Final = "navigate"
_NULL: Final = "null"
_PORTS: Final = {"http": 80, "https": 443}

#: Returns the job whose pages have an origin.
PageOf = Callable[[str], JobName | None]


def is_of_other_page(head: IncomingHead, job_uid: str, page_of: PageOf, *, secure: bool) -> bool:
    """Return whether a page of another origin has caused a request; pages of all ports of the job are its own.

    ``secure``: whether the job's own pages come over https.
    """
    site = head.value("sec-fetch-site").lower()
    origin = head.value("origin")
    if origin == _NULL:
        # A page without a referrer policy that allows it; or a sandboxed frame, whose site is "cross-site".
        if site != _SAME_ORIGIN:
            return True
    elif origin and not _is_own(origin, head.host, job_uid, page_of, secure=secure):
        return True
    if site in _OWN_SITES or head.value("sec-fetch-mode").lower() == _NAVIGATE:
        return False
    # A page of another port of the job; GET requests have no Origin, and scripts cannot forge Referer.
    page = origin or _origin_of(head.value("referer"))
    return not page or not _is_own(page, head.host, job_uid, page_of, secure=secure)


def _is_own(origin: str, host: str, job_uid: str, page_of: PageOf, *, secure: bool) -> bool:
    scheme, separator, _ = origin.partition("://")
    if not separator or scheme not in _PORTS or (secure and scheme != "https"):
        return False
    name, port = authority(origin.partition("://")[2])
    own_name, own_port = authority(host)
    if (port or _PORTS[scheme]) != (own_port or _PORTS[scheme]):
        return False
    page = page_of(origin)
    return bool(name) and (name == own_name or (page is not None and page.uid == job_uid))


def _origin_of(reference: str) -> str:
    scheme, separator, rest = reference.partition("://")
    return scheme + separator + rest.partition("/")[0]
