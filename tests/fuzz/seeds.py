"""What the fuzzer begins with: plays in which everything goes well, and the words to make up others from."""

import json
from collections.abc import Iterator
from typing import Any

from aicp_gateway.protocol.revisions import BATCHES, HANDSHAKE, STATELESS, SUPPORTED
from tests.fuzz.play import SEPARATOR, STATE
from tests.gateway.engine import announced
from tests.gateway.engine.peer import (
    CAPABILITIES_KEY,
    EVERYTHING,
    LOG_LEVEL_KEY,
    SUBSCRIPTION_KEY,
    VERSION_KEY,
    Peer,
    notification,
    request,
)

MIRRORED = {"region": "eu", "count": 42, "dry": True, "where": {"zone": "b"}}

BOTH_ERAS: list[tuple[str, dict[str, Any]]] = [
    ("tools/list", {}),
    ("tools/list", {"cursor": "dG9vbHMvbGlzdABmb3Jt"}),
    ("tools/call", {"name": "echo", "arguments": {"text": "a"}}),
    ("tools/call", {"name": "mirror", "arguments": MIRRORED}),
    ("tools/call", {"name": "form"}),
    ("tools/call", {"name": "hidden"}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "fixture://still"}),
    ("resources/read", {"uri": "fixture://things/a/parts/b"}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "greet", "arguments": {"whom": "Ann"}}),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/prompt", "name": "greet"},
            "argument": {"name": "whom", "value": "A"},
            "context": {"arguments": {"a": "b"}},
        },
    ),
    (
        "completion/complete",
        {"ref": {"type": "ref/resource", "uri": "fixture://things/{name}"}, "argument": {"name": "name", "value": ""}},
    ),
]

OF_HANDSHAKE: list[tuple[str, dict[str, Any]]] = [
    ("ping", {}),
    ("logging/setLevel", {"level": "warning"}),
    ("resources/subscribe", {"uri": "fixture://moving"}),
    ("resources/unsubscribe", {"uri": "fixture://moving"}),
]

OF_STATELESS: list[tuple[str, dict[str, Any]]] = [
    ("server/discover", {}),
    ("tools/call", {"name": "echo", "_meta": {LOG_LEVEL_KEY: "debug", "progressToken": 1}}),
    (
        "subscriptions/listen",
        {
            "notifications": {
                "toolsListChanged": True,
                "promptsListChanged": True,
                "resourcesListChanged": True,
                "resourceSubscriptions": ["fixture://moving"],
                "taskIds": ["task-1"],
            }
        },
    ),
    ("tasks/get", {"taskId": "task-1"}),
    ("tasks/update", {"taskId": "task-1", "inputResponses": {"k": {"action": "accept"}}}),
    ("tasks/cancel", {"taskId": "task-other-1"}),
]

ASKED = {
    "inputRequests": {
        "f": {"method": "elicitation/create", "params": {"mode": "form", "message": "m", "requestedSchema": {}}},
        "u": {"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://x"}},
        "s": {"method": "sampling/createMessage", "params": {"messages": [], "tools": []}},
        "r": {"method": "roots/list"},
    },
    "state": "kept",
}


def plays() -> Iterator[bytes]:
    """Each method in each form, and some conversations."""
    modern = Peer(STATELESS, capabilities=EVERYTHING)
    for method, params in (*BOTH_ERAS, *OF_STATELESS):
        message = _encode(modern.message(method, params))
        yield message
        yield b"@\n" + message
    for method, params in (*BOTH_ERAS, *OF_HANDSHAKE):
        yield _play(b"=2025-11-25", _encode(request(method, params)))
    for revision in HANDSHAKE:
        yield _play(
            _encode(
                request(
                    "initialize",
                    {
                        "protocolVersion": revision,
                        "capabilities": EVERYTHING,
                        "clientInfo": {"name": "fuzz", "version": "1"},
                    },
                )
            ),
            _encode(notification("notifications/initialized")),
            _encode(request("ping", id="a")),
        )
    yield from _conversations(modern)
    yield from _long(modern)


def _conversations(modern: Peer) -> Iterator[bytes]:
    echo = {"name": "echo", "arguments": {"text": "a"}, "_meta": {"progressToken": "t"}}
    for revision in HANDSHAKE:
        yield _play(
            b"=" + revision.encode(),
            _encode(request("tools/call", echo)),
            b'<progress {"progress":1,"total":2,"message":"m"}',
            b"<input_required " + _encode(ASKED),
            b'>{"action":"accept","content":{}}',
            b'<complete {"content":[{"type":"text","text":"x"}],"structuredContent":{"_meta":1}}',
            _encode(request("resources/read", {"uri": "fixture://still"}, id=2)),
            _encode(notification("notifications/cancelled", {"requestId": 2, "reason": "r"})),
            b"<fail",
        )
    retry = {**echo, "inputResponses": {"r": {"roots": []}}, "requestState": STATE.decode()}
    yield _play(
        b"@\n" + _encode(modern.message("tools/call", echo, id=1)),
        b"<input_required " + _encode(ASKED),
        b"@\n" + _encode(modern.message("tools/call", retry, id=2)),
        b'<complete {"content":[],"_meta":{"a":1},"resultType":"complete","ttlMs":5}',
    )
    yield _play(
        _encode(modern.message("tools/call", echo, id=1)),
        b'<task {"taskId":"task-1","status":"working","ttlMs":null}',
        _encode(modern.message("tasks/get", {"taskId": "task-1"}, id=2)),
        b'<complete {"taskId":"task-1","status":"completed","result":{"content":[]},"ttlMs":null}',
    )
    mirror = _encode(modern.message("tools/call", {"name": "mirror", "arguments": MIRRORED}))
    for lines in (
        b"@mcp-name: =?base64?bWlycm9y?=",
        b"@mcp-param-count: 42.0\n@mcp-param-region: =?base64?ZXU=?=",
        b"@mcp-param-dry-run: false",
        b"@mcp-param-zone: =?base64?!?=",
        b"@mcp-protocol-version: 2025-11-25\n@mcp-method: tools/list",
    ):
        yield b"@\n" + lines + b"\n" + mirror
    yield _play(
        _encode(request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}})),
        _encode(request("tools/call", {"name": "think"}, id=2)),
        _encode(request("tools/call", {"name": "echo"}, id=3)),
        b"<input_required " + _encode(ASKED),
        _encode(request("resources/read", {"uri": "fixture://things/a"}, id=4)),
        b"<fail gone",
    )
    yield _play(
        b"=" + BATCHES.encode(),
        _encode(
            [
                request("ping", id=1),
                request("tools/call", echo, id=2),
                notification("notifications/cancelled", {"requestId": 9}),
                {"jsonrpc": "2.0", "id": "q", "result": {}},
                {"jsonrpc": "2.0", "id": "q", "error": {"code": 1, "message": "m"}},
            ]
        ),
        b'<complete {"content":[]}',
    )


def _long(modern: Peer) -> Iterator[bytes]:
    """Some kilobytes, for what takes more time or memory than its length explains."""
    many = 3000
    deep: Any = 1
    for _ in range(150):
        deep = {"a": [deep]}
    for arguments in ({"text": "x" * many}, {"text": [0] * many}, {"region": "é" * many}, {"deep": deep}):
        yield b"@\n" + _encode(modern.message("tools/call", {"name": "mirror", "arguments": arguments}))
    yield _encode(modern.message("resources/read", {"uri": "fixture://things/" + "a/parts/" * 400}))
    yield _encode(modern.message("tools/list", {"cursor": "dG9v" * 800}))
    yield _encode(modern.message("tools/call", {"name": "echo", "requestState": "eyJh." * 800}))
    uris = [f"fixture://things/{number}" for number in range(200)]
    yield _encode(modern.message("subscriptions/listen", {"notifications": {"resourceSubscriptions": uris}}))
    capabilities: dict[str, Any] = {CAPABILITIES_KEY: {str(number): {} for number in range(400)}}
    yield _encode(modern.message("tools/list", {"_meta": capabilities}))
    yield _play(b"=" + BATCHES.encode(), _encode([request("ping", id=number) for number in range(100)]))
    yield _play(b"=" + BATCHES.encode(), _encode([1] * many))
    yield b"[" * many
    yield _encode(modern.message("tools/list", {"x": "y" * (3 * many)}))
    yield b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\\ud800"}}'


def keys() -> list[str]:
    """The names that mean something to the engine."""
    plain = """
        jsonrpc id method params result error _meta name arguments uri cursor level protocolVersion capabilities
        clientInfo ref type argument value context notifications taskId taskIds inputResponses inputRequests
        requestState state requestId progressToken progress total message traceparent resultType ttlMs cacheScope
        toolsListChanged resourceSubscriptions mode url tools toolChoice extensions elicitation sampling roots region
        count dry where zone whom content structuredContent io.modelcontextprotocol/tasks
    """
    return [*plain.split(), VERSION_KEY, CAPABILITIES_KEY, LOG_LEVEL_KEY, SUBSCRIPTION_KEY]


def texts() -> list[str]:
    """The values that do."""
    plain = """
        2.0 ref/prompt ref/resource url form debug emergency task- task-other- fixture://still fixture://moving
        fixture://things/ fixture://hidden other:// greet plain elicitation/create sampling/createMessage roots/list
        input_required initialize notifications/cancelled notifications/initialized
    """
    tools = (tool.tool["name"] for tool in announced.FIXTURE.tools)
    methods = (method for method, _ in (*BOTH_ERAS, *OF_HANDSHAKE, *OF_STATELESS))
    return list(dict.fromkeys((*plain.split(), *SUPPORTED, *tools, *methods)))


def heads() -> list[str]:
    """The headers that do."""
    return ["mcp-protocol-version", "mcp-method", "mcp-name", *announced.MIRRORED_PATHS]


def words() -> list[bytes]:
    """Words for the fuzzer to put in, keys and texts in quotes."""
    signs = ["null", "true", "{}", "[]", "[", "]", "{", "}", ",", ":", '"', "\\u", "\\ud800", "1e999", "-0", "0.0"]
    acts = ["<complete ", "<task ", "<input_required ", "<progress ", "<fail", "<finish", ">", "@\n", "=?base64?", "?="]
    return [
        *(b'"%b":' % key.encode() for key in keys()),
        *(b'"%b"' % text.encode() for text in texts()),
        *(b"@%b: " % head.encode() for head in heads()),
        *(sign.encode() for sign in (*signs, *acts)),
        *(b"=" + revision.encode() + SEPARATOR for revision in HANDSHAKE),
        SEPARATOR,
        STATE,
        b"\xff",
        b"\xc3\xa9",
    ]


def _play(*steps: bytes) -> bytes:
    return SEPARATOR.join(steps)


def _encode(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()
