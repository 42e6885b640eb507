"""Log lines: JSON with trace ids for machines, short coloured lines for a terminal."""

import datetime
import logging
import sys
from contextvars import ContextVar
from typing import Literal

import msgspec

current_traceparent: ContextVar[str] = ContextVar("current_traceparent", default="")
"""The trace of the call that this task works on; its ids go into each log line."""
current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS = {"DEBUG": "\033[2m", "INFO": "", "WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[1;31m"}
_RESET = "\033[0m"


class _JsonFormatter(logging.Formatter):
    def __init__(self, service: str, instance: str) -> None:
        super().__init__()
        self._service = service
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "service": self._service,
            "instance": self._instance,
            "message": record.getMessage(),
        }
        traceparent = current_traceparent.get()
        if traceparent:
            line["trace_id"] = traceparent[3:35]
            line["span_id"] = traceparent[36:52]
        request_id = current_request_id.get()
        if request_id:
            line["request_id"] = request_id
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=repr).decode()


class _PlainFormatter(logging.Formatter):
    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        extra = " ".join(f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        traceparent = current_traceparent.get()
        trace = f" trace={traceparent[3:11]}" if traceparent else ""
        line = f"{at} {record.levelname.lower():7} {record.getMessage()}"
        if extra:
            line += f" ({extra})"
        line += trace
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        colour = _COLOURS.get(record.levelname, "") if self._colour else ""
        return f"{colour}{line}{_RESET}" if colour else line


def configure_logs(service: str, instance: str, level: str, log_format: Literal["auto", "plain", "json"]) -> None:
    """Send every log line of this process to stderr, in the chosen form."""
    terminal = sys.stderr.isatty()
    handler = logging.StreamHandler()
    if log_format == "json" or (log_format == "auto" and not terminal):
        handler.setFormatter(_JsonFormatter(service, instance))
    else:
        handler.setFormatter(_PlainFormatter(colour=True))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These speak at INFO about each connection and request; ours say what an operator needs.
    for chatty in ("uvicorn", "uvicorn.access", "uvicorn.error", "nats", "websockets"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
