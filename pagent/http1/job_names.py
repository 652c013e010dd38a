"""Names of jobs in addresses: ``<job>[--<port>].<domain>`` as a host, ``/<job>[:<port>]/`` as the start of a path.

After ``/abs`` such a path is one that the job gets as a whole, because the program has it as its base path.

A job is named by its uid, 32 hexadecimal digits (docs/router.rst, "The apps listener").
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

PORT_MAX: Final = 65535

_UID: Final = "[0-9a-f]{32}"
_PORT: Final = "[1-9][0-9]{0,4}"
_name_in_path = re.compile(rf"(/abs)?/({_UID})(?::({_PORT}))?(?=[/?]|$)").match
#: Takes the place of the job's name in the form of an address.
PLACE: Final = "{job}"


class JobName(NamedTuple):
    """``port``: None for the job's only port."""

    uid: str
    port: int | None


class PathName(NamedTuple):
    """A name in a path. ``prefix``: the part that names the job; ``is_kept``: the job gets it as well."""

    name: JobName
    prefix: str
    is_kept: bool


class JobPlace(NamedTuple):
    """Where a browser has a job: a host name, or a path of a host that jobs share.

    ``text`` identifies it; ``path`` is where its cookies are for.
    """

    name: JobName
    text: str
    path: str


class JobHosts:
    """The host names of jobs below a domain, which may be in Unicode (RFC 5890). ValueError if it is no domain."""

    def __init__(self, domain: str) -> None:
        #: In the form that requests have: lower case, ASCII, without a dot at its end.
        self.domain = _ascii_domain(domain)
        name = rf"({_UID})(?:--({_PORT}))?\.{re.escape(self.domain)}\.?(?::[0-9]*)?"
        # The labels of a host name are compared without regard to case (RFC 9110 4.2.3).
        self._name = re.compile(name, re.IGNORECASE).fullmatch

    def name_in(self, host: str) -> JobName | None:
        """Return the job that the value of a Host field names, None if it names none."""
        found = self._name(host)
        if found is None:
            return None
        return _job_name(found[1].lower(), found[2])

    def place_of(self, name: JobName) -> JobPlace:
        """Return the place of a job that has its own host name."""
        return JobPlace(name, f"{_label(name)}.{self.domain}", "/")

    def is_below(self, host: str) -> bool:
        """Return whether a Host names the domain's subdomains, of a job or not."""
        return _host_name(host).endswith("." + self.domain)


def _label(name: JobName) -> str:
    return name.uid if name.port is None else f"{name.uid}--{name.port}"


def path_name(name: JobName) -> str:
    """Return the segment of a path that names a job."""
    return name.uid if name.port is None else f"{name.uid}:{name.port}"


def place_in_path(prefix: str, name: JobName) -> JobPlace:
    """Return the place of a job below a path; ``prefix``: that of :class:`PathName`."""
    return JobPlace(name, prefix, f"{prefix}/")


def name_in_path(target: str) -> PathName | None:
    """Return the job that a target begins with, None if it names none."""
    found = _name_in_path(target)
    if found is None:
        return None
    name = _job_name(found[2], found[3])
    return PathName(name, found[0], found[1] is not None) if name is not None else None


def _job_name(uid: str, port: str | None) -> JobName | None:
    if port is None:
        return JobName(uid, None)
    number = int(port)
    return JobName(uid, number) if number <= PORT_MAX else None


def _host_name(host: str) -> str:
    """Return the name of a Host field in lower case, without its port and a dot at its end."""
    return host.partition(":")[0].lower().removesuffix(".")


def _ascii_domain(domain: str) -> str:
    name = domain.lower().strip(".")
    try:
        encoded = name.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError(f"{domain!r} is not a domain name") from None
    if re.fullmatch(r"[0-9a-z-]{1,63}(?:\.[0-9a-z-]{1,63})*", encoded) is None:
        raise ValueError(f"{domain!r} is not a domain name")
    return encoded


class AddressForm:
    """The form of jobs' addresses, such as ``https://{job}.apps.example.org``. ValueError if it is none.

    ``{job}`` stands in the host name, or in the path.
    """

    def __init__(self, form: str) -> None:
        scheme, separator, rest = form.partition("://")
        host, slash, path = rest.partition("/")
        if not separator or scheme not in ("http", "https") or not host or form.count(PLACE) != 1:
            raise ValueError(f"{form!r} is not the address of a job: http:// or https://, and {PLACE} once")
        if re.search(r"[\x00-\x20\x7f?#\\]", form) is not None:
            raise ValueError(f"{form!r} is not the address of a job: it has a blank, a query or a fragment")
        self._form = form if path.endswith("/") or not (slash or PLACE in host) else form.removesuffix("/") + "/"
        self._in_host = PLACE in host
        #: The prefix of a job's name in the path; None if the name is in the host.
        self.path = None if self._in_host else "/" + path.partition(PLACE)[0]
        self.is_secure = scheme == "https"

    def address_of(self, uid: str, port: int | None) -> str:
        """Return the address of a job, with a slash at its end."""
        name = JobName(uid, port)
        return self._form.replace(PLACE, _label(name) if self._in_host else path_name(name))
