"""The errors that users of the package, or peers, get.

::

    PagentError
      ConfigError                 a configuration that cannot be used; names the key
      LinkError                   a failure of a whole link
        LinkClosedError           the link is gone; calls on it end with this
        DialError                 no link could be made
          DialTimeoutError        the peer did not answer in time
          HandshakeRefusedError   the peer refuses us: dialling again will not help
            TokenRefusedError     because of the token
        ProtocolError             the peer broke the protocol; carries the WebSocket close code
      CallError                   how a call ended, as its caller sees it
        MethodError               the method raised: carries the class name and text of its cause
        MethodNotFoundError       the peer has no such method
        ServerError               the peer failed, not its method: of another call type, for example
        CallTimeoutError          no result in time
        CallCancelledError        we cancelled the call ourselves
      JobError                    what a job method raises; the class name goes over the wire
        JobNotFoundError
        JobInvalidStateError
        ProcessStartTimeoutError
        ProcessExitedError
        ProcessPortCountError
        KeeperStartError
      FileChangedError            a file is not the one that the caller named as a condition
      FileDigestError             an upload does not have the digest that its caller gave
      FileOffsetError             an upload cannot continue where its caller said
      NotUnicodeError             a text of the caller cannot be sent, because it is not valid Unicode
      RouteError                  a relayed call found no way to the job now; asking again may help
      RequestRefusedError         a router answers a request with an error: carries status and text
        NotYetError               what the request is for may be there within seconds
        AccessDeniedError         the caller may not do this: 401 or 403
        QuotaExceededError        the caller has used up a quota: 429
      EndingError                 the process is at its end, and starts no more work
      StuckError                  the system gave no answer in time: a dead disk or network file system
      WSServerHandshakeError      the job refused a WebSocket upgrade; the name is that of the field

``JobError`` class names are part of the contract (docs/contract.rst, "Methods"): routers map them.
"""

from __future__ import annotations

from typing import Any, Final


class PagentError(Exception):
    """Base of all errors of pAgent."""


class ConfigError(PagentError):
    """The configuration names an unknown key, or a value of the wrong type or range."""


class LinkError(PagentError):
    """Base of the failures of a link."""


class LinkClosedError(LinkError):
    """The link is gone. ``code`` is the WebSocket close code, 1006 if there was none."""

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"link closed: {reason or 'no reason given'} (code {code})")
        self.code = code
        self.reason = reason


class DialError(LinkError):
    """No link could be made: nothing listens, the listener is no WebSocket server, or there was no answer in time."""


class DialTimeoutError(DialError):
    """The peer did not answer in time."""


class HandshakeRefusedError(DialError):
    """The peer answered and does not accept us (token, protocol version, path)."""


class TokenRefusedError(HandshakeRefusedError):
    """The peer does not accept the token, or it may not be used for this."""


class ProtocolError(LinkError):
    """The peer's fault, fatal for its link. ``code`` is the WebSocket close code to send."""

    def __init__(self, text: str, code: int = 1002) -> None:
        super().__init__(text)
        self.code = code


class CallError(PagentError):
    """Base of the ways a call can fail, as seen by its caller."""


class MethodError(CallError):
    """The method raised. ``cause_type`` is the class name without a module, ``cause_message`` the text."""

    def __init__(self, message: str, cause_type: str | None, cause_message: str | None) -> None:
        super().__init__(message)
        self.cause_type = cause_type
        self.cause_message = cause_message


class MethodNotFoundError(CallError):
    """The peer does not have the method that was called."""


class ServerError(CallError):
    """The peer could not carry the call out, for a reason that is not the method's."""


class CallTimeoutError(CallError):
    """The result did not come within the caller's time; the call was cancelled."""


class CallCancelledError(CallError):
    """The call was cancelled on this side before its result came."""


class WSServerHandshakeError(PagentError):
    """The job answered the upgrade with another status than 101. Routers know the name and the text."""

    def __init__(self, status: int, body: str = "") -> None:
        super().__init__(f"{status}, message='Invalid response status'" + (f": {body}" if body else ""))
        self.status = status


class JobError(PagentError):
    """Base of the errors of job methods."""


class JobNotFoundError(JobError):
    """There is no such job, or it belongs to another peer."""

    def __init__(self, uid: object) -> None:
        super().__init__(f"job {uid!r} is not found")


class JobInvalidStateError(JobError):
    """The job is in a state that does not allow the operation."""


class ProcessStartTimeoutError(JobError):
    """The job's process did not get ready in time."""


class ProcessExitedError(JobError):
    """The job's process ended before it was ready."""


class ProcessPortCountError(JobError):
    """The job reported more ports than were expected, or the expected number is invalid."""


class KeeperStartError(JobError):
    """The agent cannot execute its own Python, so that it starts no program."""


class FileChangedError(PagentError):
    """A file is not the one that the caller named as a condition of an upload or a removal."""

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(f"{path!r} {fault}")


class FileDigestError(PagentError, ValueError):
    """An upload does not have the digest that its caller gave."""


class FileOffsetError(PagentError, ValueError):
    """An upload cannot continue where its caller said: fewer bytes of it are kept."""


class NotUnicodeError(PagentError, ValueError):
    """A text cannot be sent as UTF-8: it has a lone surrogate."""


class RouteError(PagentError):
    """A relayed call found no way to the job now; asking again may help."""


class RequestRefusedError(PagentError):
    """A request to a router is answered with an error.

    ``status`` is that of HTTP, the text is for the client; ``retry_after_s`` becomes the field Retry-After.
    ``subject``: the name of the caller, if it is known by then.
    """

    def __init__(self, status: int, text: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s
        self.subject: str | None = None


class RedirectError(RequestRefusedError):
    """A request to a router is answered with another ``location`` for the same method and body (RFC 9110 15.4.9)."""

    def __init__(self, location: str) -> None:
        super().__init__(308, "this is elsewhere")
        self.location = location


class NotYetError(RequestRefusedError):
    """The link or the job that a request is for may be there within seconds: waiting for it can help."""


class AccessDeniedError(RequestRefusedError):
    """The caller presents no valid token (401), or one without the scope that the request needs (403)."""


class QuotaExceededError(RequestRefusedError):
    """The caller has used up a quota."""

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(429, f"{text}; ask again in {retry_after_s} s", retry_after_s=retry_after_s)


#: How a call on a link fails.
CALL_ERRORS: Final = (CallError, LinkClosedError)
#: How a call at the agent of a job fails: also because no agent is found, or the agent has no link.
JOB_CALL_ERRORS: Final = (*CALL_ERRORS, RequestRefusedError)


class ApiError(PagentError):
    """A router has refused a request to its API. ``detail`` says why; its log has the ``request_id``."""

    def __init__(self, status: int, detail: str, request_id: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status}: {detail} (request {request_id})")
        self.status = status
        self.detail = detail
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class EndingError(PagentError, RuntimeError):
    """The process is at its end, and starts no more work."""


class StuckError(PagentError, TimeoutError):
    """Blocking work got no answer from the system within its time limit. It cannot be interrupted."""


def text_for_peer(error: BaseException, *given: Any) -> str:
    """Return the text of an error for a peer: without a path of this machine.

    The code that opens files makes errors name the path as the peer gave it. An absolute path that is not in ``given``,
    the arguments of the peer, is left out.
    """
    names = (error.filename, error.filename2) if isinstance(error, OSError) else ()
    if any(_is_absolute(name) and not _holds(given, name) for name in names):
        assert isinstance(error, OSError)
        return f"[Errno {error.errno}] {error.strerror}"
    return str(error)


def _is_absolute(name: object) -> bool:
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    return text.startswith(("/", "\\")) or text[1:3] in (":\\", ":/")


def _holds(value: object, name: object) -> bool:
    if isinstance(value, dict):
        return any(_holds(item, name) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds(item, name) for item in value)
    return value == name
