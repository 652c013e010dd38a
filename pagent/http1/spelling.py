"""Names of fields as they are usually spelt, for peers that look for them case-sensitively.

Names are case-insensitive (RFC 9110 5.1), and most programs of today write them in lower case. A router of the field
looks for ``Content-Type`` to the letter, and adds one of its own beside a ``content-type``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pagent.http1.fields import COMMON_NAMES, SPECIAL

#: Names whose words are not just capitalised, besides those that :mod:`pagent.http1.fields` knows.
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


@lru_cache(maxsize=1024)
def usual_name(name: str) -> str:
    """Return ``Content-Type`` for any spelling of it, and a name that is not known with each of its words capitalised.

    Other letters of such a name stay as they are: its users may look for the very ``TestHeader`` that the job has sent.
    """
    usual = _SPELLINGS.get(name.lower())
    return usual if usual is not None else "-".join([word[:1].upper() + word[1:] for word in name.split("-")])
