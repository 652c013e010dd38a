"""What the bodies of requests to ``/v1`` must be; :mod:`pagent.web.payloads` has the checks."""

from __future__ import annotations

from typing import Final

from pagent.web.payloads import boolean, mapping

#: ``PATCH /v1/agents/<uid>``
CORDON: Final = mapping({"cordoned": boolean})
