"""Check the arguments of ``job_start``, and make the environment of the job."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeGuard

from pagent import limits
from pagent.errors import ProcessPortCountError
from pagent.jobs.placeholders import MAIN, NAME, OPENING, fill
from pagent.names import to_wire

PREFIX: Final = "DA__PAGENT__"
_LOOPBACK: Final = ("127.0.0.1", "localhost")

_ENDPOINT: Final = f"{PREFIX}JOB_ENDPOINT"
_ID: Final = f"{PREFIX}JOB_ID"
_UID: Final = f"{PREFIX}JOB_UID"
#: An agent that is itself a job does not pass these on: the id is its own secret.
_OF_A_JOB: Final = frozenset((_ENDPOINT, _ID, _UID))

Ready = Literal["report", "connect"]

_NONE: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Command:
    """Checked arguments of a start."""

    args: tuple[str, ...]
    env: dict[str, str]
    #: Relative to the sandbox, or absolute; whether it exists and is allowed is found when it is opened.
    cwd: str
    port_expected_count: int
    forward_stdout: bool
    port: int | Literal["auto"] | None
    ready: Ready
    ready_timeout_s: float
    timeout_s: float | None
    #: The standard input; None for none.
    stdin: bytes | None = None
    #: Taken for 'auto' where it is free.
    prefer_port: int | None = None
    #: Further ports by their names.
    more_ports: Mapping[str, int | Literal["auto"]] = field(default_factory=dict)

    @property
    def reports_awaited(self) -> int:
        """Return the number of port reports before the job is ready: none if the agent checks the port itself."""
        return 0 if self.ready == "connect" else self.port_expected_count

    def command_line(self, port: int | None, more: Mapping[str, int] = _NONE) -> list[str]:
        """Return the arguments with the ports filled in."""
        ports = _by_name(port, more)
        return [fill(text, ports) for text in self.args]

    def environment(
        self,
        properties: Mapping[str, str],
        endpoint: str,
        uid: str,
        job_id: str,
        port: int | None,
        own: Mapping[str, str] = os.environ,
        more: Mapping[str, int] = _NONE,
    ) -> dict[str, str]:
        """Return the environment of a job, later names over earlier ones (docs/contract.rst, "Environment of a job").

        ``own``: the part of the agent's environment that it gets. ``job_id``: identifies the job in its port reports.
        """
        environment = {**own}
        for name in _OF_A_JOB:
            environment.pop(name, None)
        environment.update(properties)
        # Without ports an older router's job has no names with PREFIX but those of the properties.
        if self.port_expected_count:
            environment[_UID] = uid
            environment[_ENDPOINT] = endpoint
            environment[_ID] = job_id
        if port is not None:
            environment["PORT"] = str(port)
        environment.update((f"PORT_{name.upper().replace('-', '_')}", str(number)) for name, number in more.items())
        ports = _by_name(port, more)
        environment |= self.env
        if OPENING in "\0".join(self.env.values()):
            environment |= {name: fill(value, ports) for name, value in self.env.items()}
        if self.port_expected_count:
            _reach_directly(environment)
        return environment


def _reach_directly(environment: dict[str, str]) -> None:
    """Exclude the loopback, where port reports go, from the proxy that the job may be configured to use."""
    for name, other in (("no_proxy", "NO_PROXY"), ("NO_PROXY", "no_proxy")):
        given = environment.get(name, environment.get(other, ""))
        entries = [entry.strip() for entry in given.split(",") if entry.strip()]
        missing = [host for host in _LOOPBACK if host not in entries and "*" not in entries]
        environment[name] = ",".join(entries + missing)


def _by_name(port: int | None, more: Mapping[str, int]) -> dict[str, int]:
    return dict(more) if port is None else {MAIN: port, **more}


def property_variables(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the configured properties. ValueError for a value that no environment can hold."""
    return {
        PREFIX + _variable_name("property", name): _text(f"property {name!r}", value)
        for name, value in properties.items()
    }


def check_command(
    args: object,
    env: object,
    *,
    cwd: object = None,
    port_expected_count: object = 0,
    forward_stdout: object = False,
    port: object = None,
    ready: object = "report",
    ready_timeout: object = limits.READY_TIMEOUT_S,
    timeout: object = None,
    prefer_port: object = None,
    more_ports: object = None,
    stdin: object = None,
) -> Command:
    """Check the arguments of a start as a peer gave them. TypeError or ValueError names the wrong one.

    OSError as of execve(2) if it is all longer than the system takes. ProcessPortCountError: a number of ports that is
    negative, above ``limits.PORTS_PER_JOB``, or more than the one that ``ready='connect'`` knows of.
    """
    if not isinstance(args, list | tuple):
        raise TypeError(f"args must be a list, not {type(args).__name__}")
    if not args:
        raise ValueError("args must not be empty")
    if args[0] in ("", b""):
        raise ValueError("args[0], the program, must not be empty")
    if not isinstance(forward_stdout, bool):
        raise TypeError(f"forward_stdout must be a bool, not {type(forward_stdout).__name__}")
    texts, variables = _texts_and_environment(args, env)
    given = _port(port)
    how = _ready(ready, given)
    return Command(
        args=texts,
        env=variables,
        cwd=_folder(cwd),
        port_expected_count=_port_count(port_expected_count, how),
        forward_stdout=forward_stdout,
        port=given,
        ready=how,
        ready_timeout_s=seconds("ready_timeout", ready_timeout, limits.READY_TIMEOUT_MAX_S),
        timeout_s=None if timeout is None else seconds("timeout", timeout, limits.RUN_TIMEOUT_MAX_S),
        prefer_port=None if prefer_port is None else _port_number("prefer_port", prefer_port),
        more_ports=_more_ports(more_ports, given),
        stdin=_stdin(stdin),
    )


def _texts_and_environment(args: Sequence[Any], env: object) -> tuple[tuple[str, ...], dict[str, str]]:
    """Check all strings of a command. There may be many: passes in C find out whether one is wrong."""
    if env is not None and not isinstance(env, dict):
        raise TypeError(f"env must be a map or nil, not {type(env).__name__}")
    given: dict[Any, Any] = env or {}
    texts = [*args, *given, *given.values()]
    if not _are_texts(texts) or "" in given or "=" in "".join(given):
        args = [_value(f"args[{index}]", arg) for index, arg in enumerate(args)]
        given = {_variable_name("env", name): _value(f"env[{name!r}]", value) for name, value in given.items()}
        texts = [*args, *given, *given.values()]
    _check_length(texts)
    return tuple(args), given


def _value(what: str, value: object) -> str:
    return _text(what, os.fsdecode(value) if _is_no_utf8(value) else value)


def _folder(cwd: Any) -> str:
    if cwd is None:
        return ""
    if _is_no_utf8(cwd):
        path = os.fsdecode(cwd)
        return path if os.path.isabs(path) else to_wire(path)
    if not isinstance(cwd, str):
        raise TypeError(f"cwd must be a str, not {type(cwd).__name__}")
    return cwd


def _is_no_utf8(value: object) -> TypeGuard[bytes]:
    """Return whether this is a text that is not UTF-8: a peer sends its bytes, and here it is a str with surrogates."""
    if not isinstance(value, bytes):
        return False
    try:
        value.decode()
    except UnicodeDecodeError:
        return True
    return False


def _stdin(data: object) -> bytes | None:
    if data is None:
        return None
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"stdin must be a bin or nil, not {type(data).__name__}")
    if len(data) > limits.STDIN_MAX:
        raise ValueError(f"stdin must have at most {limits.STDIN_MAX} bytes")
    return bytes(data)


def _port_count(count: object, ready: Ready) -> int:
    if type(count) is not int:
        raise TypeError(f"port_expected_count must be an int, not {type(count).__name__}")
    most = 1 if ready == "connect" else limits.PORTS_PER_JOB
    if not 0 <= count <= most:
        raise ProcessPortCountError(f"port_expected_count must be 0 to {most}, not {count}")
    return count


def _port(port: object) -> int | Literal["auto"] | None:
    if port is None:
        return None
    if port == "auto":
        return "auto"
    if type(port) is not int:
        raise TypeError(f"port must be an int, 'auto' or nil, not {port!r:.40}")
    return _port_number("port", port)


def _port_number(what: str, port: object) -> int:
    if type(port) is not int:
        raise TypeError(f"{what} must be an int, not {port!r:.40}")
    if not 1 <= port <= 65535:
        raise ValueError(f"{what} must be 1 to 65535, not {port}")
    return port


def _more_ports(more: object, port: object) -> dict[str, int | Literal["auto"]]:
    if more is None:
        return {}
    if not isinstance(more, dict):
        raise TypeError(f"more_ports must be a map or nil, not {type(more).__name__}")
    if more and port is None:
        raise ValueError("more_ports needs a port")
    if len(more) >= limits.PORTS_PER_JOB:
        raise ProcessPortCountError(f"a job has at most {limits.PORTS_PER_JOB} ports")
    return {_port_name(name): _more_port(number) for name, number in more.items()}


def _more_port(number: object) -> int | Literal["auto"]:
    return "auto" if number == "auto" else _port_number("a port in more_ports", number)


def _port_name(name: object) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"a name in more_ports must match {NAME.pattern}, not {name!r:.40}")
    return name


def _ready(ready: object, port: object) -> Ready:
    if ready == "report":
        return "report"
    if ready != "connect":
        raise ValueError(f"ready must be 'report' or 'connect', not {ready!r:.40}")
    if port is None:
        raise ValueError("ready='connect' needs a port")
    return "connect"


def seconds(name: str, value: Any, most: float, *, zero: bool = False) -> float:
    """Check a time as a peer gave it: above 0 (or 0, if that is allowed) and at most ``most``."""
    if type(value) not in (int, float):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if math.isnan(value) or not 0 <= value <= most or (value == 0 and not zero):
        raise ValueError(f"{name} must be a number of seconds up to {most:g}, not {value}")
    return float(value)


def _check_length(texts: Sequence[str]) -> None:
    joined = "\0".join(texts)
    if len(joined) - len(texts) + 1 > limits.COMMAND_MAX:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG), "args and env")
    if joined.count(OPENING) > limits.COMMAND_PLACES_MAX:
        raise ValueError(f"args and env may contain {OPENING}}} at most {limits.COMMAND_PLACES_MAX} times")


def _are_texts(values: Sequence[Any]) -> bool:
    """Return whether all are strings that the system can take."""
    if not {*map(type, values)} <= {str}:
        return False
    joined = "".join(values)
    if "\0" in joined:
        return False
    try:
        os.fsencode(joined)
    except UnicodeEncodeError:
        return False
    return True


def _text(what: str, value: object) -> str:
    """Check a string: the system must be able to take it."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{what} contains a NUL")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise ValueError(f"{what} is not valid Unicode") from None
    return value


def _variable_name(what: str, name: object) -> str:
    text = _text(f"a name in {what}" if what == "env" else f"the name of a {what}", name)
    if "=" in text or (not text and what == "env"):
        raise ValueError(f"{what}: {text!r} cannot be the name of an environment variable")
    return text
