"""The usual spelling of field names, for peers that compare them case-sensitively.

Names are case-insensitive (RFC 9110 5.1), and many programs write them in lower case. An old router looks for
``Content-Type`` in this spelling only, and adds another field beside a ``content-type``.
"""

from __future__ import annotations

from typing import Final

from pagent.http1.fields import COMMON_NAMES, SPECIAL

#: Names with another spelling than capitalised words, in addition to those of :mod:`pagent.http1.fields`.
_IRREGULAR: Final = """
    A-IM Accept-CH-Lifetime ALPN CDN-Cache-Control CDN-Loop Content-DPR Content-ID Content-MD5 DASL DAV DPoP DPR ECT
    EDIINT-Features Expect-CT GetProfile HTTP2-Settings IM MIME-Version NEL OData-EntityId OData-Isolation
    OData-MaxVersion OData-Version OSCORE OSLC-Core-Version P3P PEP PICS-Label RTT Sec-CH-DPR Sec-CH-UA-Arch
    Sec-CH-UA-Bitness Sec-CH-UA-Form-Factors Sec-CH-UA-Full-Version Sec-CH-UA-Full-Version-List Sec-CH-UA-Model
    Sec-CH-UA-Platform-Version Sec-CH-UA-WoW64 Sec-WebSocket-Accept Sec-WebSocket-Extensions Sec-WebSocket-Key
    Sec-WebSocket-Protocol Sec-WebSocket-Version SLUG SOAPAction SourceMap Status-URI TCN TE TTL URI WWW-Authenticate
    X-API-Key X-ATT-DeviceId X-Correlation-ID X-CSRFToken X-Device-User-Agent X-DNS-Prefetch-Control X-GitHub-Request-Id
    X-HTTP-Method-Override X-IPLB-Instance X-JSON X-NodeJS X-RateLimit-Limit X-RateLimit-Remaining X-RateLimit-Reset
    X-SourceMap X-UA-Compatible X-UIDH X-WebKit-CSP X-XSRF-Token
"""

_SPELLINGS: Final = {name.lower(): name for name in (*map(str.title, SPECIAL), *_IRREGULAR.split(), *COMMON_NAMES)}
_USUAL: Final = frozenset(_SPELLINGS.values())


def with_usual_names(fields: list[list[str]]) -> list[list[str]]:
    """Return the fields, [name, value] each, with the usual spelling of their names."""
    return [pair if pair[0] in _USUAL else [usual_name(pair[0]), pair[1]] for pair in fields]


def usual_name(name: str) -> str:
    """Return the usual spelling of a known name, and an unknown name with each of its words capitalised.

    Other letters of an unknown name stay unchanged: a client may look for the very ``TestHeader`` that the job sent.
    """
    if name in _USUAL:
        return name
    usual = _SPELLINGS.get(name.lower())
    if usual is not None:
        return usual
    return name if name.istitle() else "-".join([word[:1].upper() + word[1:] for word in name.split("-")])
