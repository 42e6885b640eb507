"""What is wrong with an answer: its type, and the rules that the schema does not express."""

from collections.abc import Iterator
from typing import Any

from tests.support.checked import definitions, extension, narrowing
from tests.support.checked.capabilities import missing_of_client
from tests.support.checked.revisions import HANDSHAKE, STATELESS
from tests.support.checked.session import CAPABILITIES_KEY, SUBSCRIPTION_KEY, VERSION_KEY, Asked, key_of, object_at

RETIRED = (-32002, -32042)
"""Codes of the handshake era that 2026-07-28 forbids. Source: MCP 2026-07-28, basic, "Error Codes"."""

RESERVED = range(-32099, -32019)
"""Codes that only the specification may give a meaning."""

DEFINED = (-32020, -32021, -32022)

STATUS = {-32020: 400, -32021: 400, -32022: 400, -32601: 404}
"""The HTTP status of an error in 2026-07-28. Source: MCP 2026-07-28, basic/transports/streamable-http."""


def result_faults(asked: Asked, revision: str, message: dict[str, Any], raw: bytes) -> list[str]:
    """What is wrong with a response that has a result.

    Args:
        asked: What it answers.
        revision: In force for that.
        message: The response.
        raw: The same as JSON.
    """
    result = message["result"]
    if not isinstance(result, dict):
        return ["result is not an object"]
    if revision == STATELESS:
        kind = result.get("resultType")
        if not isinstance(kind, str):
            return ["result.resultType is missing"]
    else:
        kind = "task" if asked.wants_task and "task" in result else "complete"
    definition = definitions.result(revision, asked.method, kind)
    if definition is None:
        return [f"a result of the kind {kind!r} for {asked.method or 'a message that is no request'!r}"]
    faults = definition.faults(raw) or narrowing.result_faults(revision, asked.method, result)
    return faults or list(_rules(asked, revision, kind, result))


def _rules(asked: Asked, revision: str, kind: str, result: dict[str, Any]) -> Iterator[str]:
    if revision != STATELESS:
        if asked.method == "initialize" and result["protocolVersion"] not in HANDSHAKE:
            yield f"result.protocolVersion is {result['protocolVersion']!r}, which has no handshake"
        return
    declared = object_at(asked.meta, CAPABILITIES_KEY)
    if asked.meta.get(VERSION_KEY) != STATELESS:
        yield f"a result for a request of the revision {asked.meta.get(VERSION_KEY)!r}; that is error -32022"
    if kind == "input_required":
        yield from _asks_back(result, declared)
    if kind == "task" and extension.TASKS not in object_at(declared, "extensions"):
        yield f"a task for a client that did not declare the extension {extension.TASKS}"
    if asked.method == "server/discover" and STATELESS not in result["supportedVersions"]:
        yield f"result.supportedVersions lacks {STATELESS}, in which it was asked"
    if asked.method == "subscriptions/listen" and key_of(result["_meta"][SUBSCRIPTION_KEY]) != key_of(asked.id):
        yield f"result._meta has the subscription id {result['_meta'][SUBSCRIPTION_KEY]!r}; it is {asked.id!r}"


def _asks_back(result: dict[str, Any], declared: dict[str, Any]) -> Iterator[str]:
    if "inputRequests" not in result and "requestState" not in result:
        yield "result has neither inputRequests nor requestState"
    for key, wanted in result.get("inputRequests", {}).items():
        missing = missing_of_client(wanted["method"], object_at(wanted, "params"), declared)
        if missing:
            yield f"result.inputRequests.{key}: the client did not declare {missing}"


def error_faults(revision: str, message: dict[str, Any], raw: bytes, status: int | None) -> list[str]:
    """What is wrong with a response that has an error.

    Args:
        revision: In force for the request.
        message: The response.
        raw: The same as JSON.
        status: The HTTP status that it came with; None where there was none of its own.
    """
    code = object_at(message, "error").get("code")
    known = code if isinstance(code, int) else 0
    faults = definitions.error(revision, known).faults(raw)
    if faults or revision != STATELESS:
        return faults
    if known in RETIRED:
        faults.append(f"error.code is {known}, which {STATELESS} does not have any more")
    if known in RESERVED and known not in DEFINED and known not in RETIRED:
        faults.append(f"error.code is {known}, which is reserved and has no meaning")
    if status is not None and STATUS.get(known, status) != status:
        faults.append(f"error {known} came with the HTTP status {status}; that is {STATUS[known]}")
    return faults
