"""The router's own cookies, which no job gets and no job sets (docs/router.rst, "Forwarded fields").

Names of cookies are case-sensitive (RFC 6265 5.3). Servers trim blanks around a name, and so does this module.
"""

from __future__ import annotations

from typing import Final

#: In every name of such a cookie. A field without it needs no further look.
MARK: Final = "pagent-"
SET_COOKIE: Final = "set-cookie"

_PREFIXES: Final = (MARK, f"__Host-{MARK}", f"__Secure-{MARK}")
_BLANKS: Final = " \t"
#: Before a name in Set-Cookie: a cookie with no name is sent back as its value alone, and the value may have the form
#: of another cookie.
_BEFORE: Final = _BLANKS + "="


def others(value: str) -> str:
    """Return the value of a Cookie field without the router's own cookies; empty if none is left."""
    return ";".join([each for each in value.split(";") if not is_own(each.strip(_BLANKS))]).strip(_BLANKS)


def own_in(value: str) -> list[str]:
    """Return the router's own cookies of a Cookie field, each as ``name=value``."""
    cookies = [each.strip(_BLANKS) for each in value.split(";")]
    return [cookie for cookie in cookies if is_own(cookie)]


def is_own(cookie: str) -> bool:
    """Return whether a cookie, as ``name=value``, is one of the router's own."""
    return cookie.startswith(_PREFIXES)


def sets_own(value: str) -> bool:
    """Return whether the value of a Set-Cookie field sets one of the router's own cookies."""
    return is_own(value.lstrip(_BEFORE))
