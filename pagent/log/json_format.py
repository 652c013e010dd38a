"""The JSON form of log lines; imported only if it is used, because orjson is."""

from __future__ import annotations

import logging
from typing import Final

import orjson

from pagent.limits import LOG_LINE_MAX
from pagent.log.formats import escape

#: Names of the ids that a record may have in ``extra``: of a link, an agent, a job, a call, and a user's request.
IDS: Final = ("link", "agent", "job", "call", "request")
#: A message that begins in one of these ways is about the object that its first argument names.
_SUBJECTS: Final = {"job %s": "job", "link %s": "link", "agent %r": "agent"}

#: The longest message or traceback in JSON, in bytes: a line has both, and some ids.
_TEXT_MAX: Final = LOG_LINE_MAX * 3 // 8
_CUT: Final = " ... (cut)"


class JsonFormatter(logging.Formatter):
    """Makes one JSON object of a record (docs/contract.rst, "Monitoring").

    The ids that ``extra`` gives a record under the names of :data:`IDS` become keys of their own.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _bounded(record.getMessage()),
        }
        line.update(_subject(record))
        line.update({name: record.__dict__[name] for name in IDS if name in record.__dict__})
        if record.__dict__.get("left_out"):
            line["left_out"] = record.__dict__["left_out"]
        if record.exc_info:
            line["exception"] = _bounded(self.formatException(record.exc_info))
        return orjson.dumps(line).decode()


def _subject(record: logging.LogRecord) -> dict[str, object]:
    if isinstance(record.args, tuple) and record.args and isinstance(record.msg, str):
        name = _SUBJECTS.get(" ".join(record.msg.split(maxsplit=2)[:2]).rstrip(":"))
        if name is not None:
            return {name: str(record.args[0])}
    return {}


def _bounded(text: str) -> str:
    """Return a text, escaped, whose JSON form has at most a part of a line."""
    escaped = escape(text).encode(errors="backslashreplace").decode()
    if len(orjson.dumps(escaped)) <= _TEXT_MAX:
        return escaped
    while len(orjson.dumps(escaped)) > _TEXT_MAX - len(_CUT):
        escaped = escaped[: len(escaped) * 7 // 8]
    return escaped + _CUT
