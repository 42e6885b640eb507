"""Failures: why a call has no result. Each has a code that the report counts it under."""


class CallFailed(Exception):
    """A call that has no result.

    Args:
        code: What it is counted as: the number of a JSON-RPC error such as `-32602`, or one of the words below.
        message: What happened, for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class RpcError(CallFailed):
    """The hub answered with a JSON-RPC error; its number is the code."""


class ToolFailed(CallFailed):
    """A tool's result says `isError`. The code is `tool:` and the error's name, where the hub gives one."""


class NotComplete(CallFailed):
    """The result is of a type that is no end: `result:input_required` and the like."""


class HttpFailed(CallFailed):
    """An HTTP status without a JSON-RPC message: `http:503`."""


class BadAnswer(CallFailed):
    """What came is no answer that MCP knows."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_answer", message)


class TimedOut(CallFailed):
    """No answer in time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__("timeout", f"no answer within {timeout_s:g} s")


class ConnectionLost(CallFailed):
    """The connection ended before the answer."""

    def __init__(self, reason: str) -> None:
        super().__init__("connection_lost", reason)


class ConnectFailed(CallFailed):
    """There is no connection, and none could be made."""

    def __init__(self, reason: str) -> None:
        super().__init__("connect_failed", reason)
