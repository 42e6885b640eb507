"""The relay between a client that does what it likes and a hub that falls at any moment, by the thousand."""

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from aicp.connect.backlog import Limits
from aicp.connect.relay import IN_DOUBT, Relay
from tests.client.between import REVISION, TOOLS

LIMITS = Limits(patience_s=45, messages=12, bytes=4000, message_bytes=1000, sendings=3)
PREFIX = "aicp-connect-"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
URIS = ["a:1", "a:2", "aicp://inbox"]
READING = ["ping", "tools/list", "resources/read", "server/discover", "completion/complete"]
DOING = ["tasks/update", "tasks/cancel", "acme/do"]


class Hub:
    """What the hub knows on one connection."""

    def __init__(self) -> None:
        self.greeted = False
        self.ready = False
        self.pending: dict[str, dict[str, Any]] = {}
        self.watched: set[str] = set()
        self.listens: set[str] = set()
        self.asked: dict[str, str] = {}
        """By its own id: the id that the client knows."""


class Network(RuleBasedStateMachine):
    """Rules are what the client, the hub, the network and the clock may do; the model is what is known for certain."""

    asked = Bundle("asked")

    @initialize(channel=st.sampled_from([None, False, True]))
    def begin(self, channel: bool | None) -> None:
        self.relay = Relay(channel=channel, limits=LIMITS)
        self.now = 0.0
        self.hub: Hub | None = None
        self.next_id = 0
        self.open: dict[str, dict[str, Any]] = {}
        """Requests of the client that it has neither an answer to nor cancelled."""
        self.sent: dict[str, int] = {}
        """How often the hub has had a request, by id."""
        self.shaken = False
        self.doubt: set[str] = set()
        """Calls that the hub had, without an answer, when a connection broke."""
        self.client_watches: set[str] = set()
        self.acknowledged: set[str] = set()
        self.to_answer: dict[str, str] = {}
        """Requests of the hub that the client has open: its own id of each, by the client's id."""
        self.hub_ids = 0

    # ------------------------------------------------------------------------------------------------------ the client

    def _say(self, message: dict[str, Any]) -> None:
        self.relay.line(json.dumps({"jsonrpc": "2.0", **message}).encode(), self.now)

    def _ask(self, method: str, params: dict[str, Any]) -> str:
        self.next_id += 1
        id: int | str = self.next_id if self.next_id % 2 else f"s{self.next_id}"
        key = json.dumps(id)
        self.open[key] = {"method": method, "params": params}
        self._say({"id": id, "method": method, "params": params})
        self._settle()
        return key

    @rule(target=asked, method=st.sampled_from(READING + DOING), size=st.integers(0, 700))
    def asks(self, method: str, size: int) -> str:
        return self._ask(method, {"x": "y" * size})

    @rule(target=asked, tool=st.sampled_from(["look", "put", "act", "plain", "receive_tasks"]))
    def calls(self, tool: str) -> str:
        return self._ask("tools/call", {"name": tool})

    @rule(target=asked, uri=st.sampled_from(URIS), method=st.sampled_from(["subscribe", "unsubscribe"]))
    def watches(self, uri: str, method: str) -> str:
        return self._ask(f"resources/{method}", {"uri": uri})

    @rule(target=asked)
    def listens(self) -> str:
        return self._ask("subscriptions/listen", {"notifications": {"toolsListChanged": True}})

    @rule(target=asked, name=st.sampled_from(["test", "claude-code"]))
    def shakes_hands(self, name: str) -> Any:
        if self.shaken or any(request["method"] == "initialize" for request in self.open.values()):
            return multiple()
        return self._ask("initialize", {"protocolVersion": REVISION, "clientInfo": {"name": name}})

    @rule()
    def says_initialized(self) -> None:
        self._say({"method": "notifications/initialized"})
        self._settle()

    @rule(key=asked)
    def cancels(self, key: str) -> None:
        if self.open.get(key, {}).get("method") == "initialize":
            return  # MCP forbids it
        self._say({"method": "notifications/cancelled", "params": {"requestId": json.loads(key)}})
        if self.open.pop(key, None) is not None:
            self.acknowledged.discard(key)
            self.doubt.discard(key)
        self._settle()

    @precondition(lambda self: self.to_answer)
    @rule(data=st.data())
    def answers_the_hub(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.to_answer)))
        del self.to_answer[id]
        self._say({"id": id, "result": {}})
        self._settle()

    @rule(
        line=st.one_of(
            st.binary(max_size=40), st.sampled_from([b"[]", b"{}", b'{"jsonrpc":"2.0","id":[1],"method":"x"}'])
        )
    )
    def says_nonsense(self, line: bytes) -> None:
        self.relay.line(line.replace(b"\n", b" "), self.now)
        self._settle()

    # --------------------------------------------------------------------------------------------------------- the hub

    def _tell(self, message: dict[str, Any]) -> None:
        self.relay.frame(json.dumps({"jsonrpc": "2.0", **message}), self.now)

    @precondition(lambda self: self.hub is not None and self.hub.pending)
    @rule(data=st.data(), well=st.integers(0, 4))
    def hub_answers(self, data: st.DataObject, well: int) -> None:
        assert self.hub is not None
        key = data.draw(st.sampled_from(sorted(self.hub.pending)))
        self._hub_answers(key, well=bool(well))

    def _hub_answers(self, key: str, *, well: bool) -> None:
        assert self.hub is not None
        request = self.hub.pending.pop(key)
        method, params = request["method"], request.get("params", {})
        own = key.startswith(f'"{PREFIX}')
        if not well and not (own and method == "initialize"):
            self._tell({"id": json.loads(key), "error": {"code": -32002, "message": "no"}})
            self.hub.listens.discard(key)
            self._settle()
            return
        result: dict[str, Any] = {}
        match method:
            case "initialize":
                result = {"protocolVersion": REVISION, "capabilities": {"tools": {"listChanged": True}}}
                self.hub.greeted = True
                self.shaken = True
            case "tools/list":
                result = {"tools": TOOLS}
            case "resources/subscribe":
                self.hub.watched.add(params["uri"])
                if not own:
                    self.client_watches.add(params["uri"])
            case "resources/unsubscribe":
                self.hub.watched.discard(params["uri"])
                self.client_watches.discard(params["uri"])
            case "resources/read" if own:
                inbox = {"tasks": [{"task_id": f"t-{self.next_id}", "requester": "alice", "message": "x"}]}
                result = {"contents": [{"uri": params["uri"], "text": json.dumps(inbox)}]}
            case "subscriptions/listen":
                self.hub.listens.discard(key)
        self._tell({"id": json.loads(key), "result": result})
        self._settle()

    @precondition(lambda self: self.hub is not None and self.hub.listens - self.acknowledged)
    @rule(data=st.data())
    def hub_acknowledges(self, data: st.DataObject) -> None:
        assert self.hub is not None
        key = data.draw(st.sampled_from(sorted(self.hub.listens - self.acknowledged)))
        self._acknowledge(key)
        self._settle()

    def _acknowledge(self, key: str) -> None:
        params = {"_meta": {SUBSCRIPTION: json.loads(key)}, "notifications": {"toolsListChanged": True}}
        self._tell({"method": "notifications/subscriptions/acknowledged", "params": params})

    @precondition(lambda self: self.hub is not None and self.hub.ready)
    @rule(uri=st.sampled_from(URIS))
    def hub_tells_of_a_change(self, uri: str) -> None:
        assert self.hub is not None
        if uri in self.hub.watched:
            self._tell({"method": "notifications/resources/updated", "params": {"uri": uri}})
            self._settle()

    @precondition(lambda self: self.hub is not None and self.hub.ready)
    @rule()
    def hub_asks(self) -> None:
        # Each connection counts from the beginning.
        assert self.hub is not None
        id = len(self.hub.asked) + 1
        self.hub.asked[json.dumps(id)] = ""
        self._tell({"id": id, "method": "sampling/createMessage", "params": {}})
        self._settle()

    @precondition(lambda self: self.hub is not None)
    @rule(frame=st.one_of(st.text(max_size=30), st.sampled_from(["[]", '{"jsonrpc":"2.0","id":99999,"result":{}}'])))
    def hub_says_nonsense(self, frame: str) -> None:
        self.relay.frame(frame, self.now)
        self._settle()

    # --------------------------------------------------------------------------------------------- network and clock

    @precondition(lambda self: self.hub is None)
    @rule()
    def connects(self) -> None:
        self.hub = Hub()
        self.relay.connection_opened()
        self._settle()

    @precondition(lambda self: self.hub is not None)
    @rule(quiet=st.booleans())
    def breaks(self, quiet: bool) -> None:
        """With `quiet`, the client says something before the break that has not been sent yet."""
        if quiet:
            self.next_id += 1
            key = json.dumps(self.next_id)
            self.open[key] = {"method": "tools/call", "params": {"name": "act"}}
            self._say({"id": self.next_id, "method": "tools/call", "params": {"name": "act"}})
        assert self.hub is not None
        self.doubt |= {key for key in self.hub.pending if key in self.open}
        self.hub = None
        self.relay.connection_lost(self.now, "it fell")
        self.to_answer_before = dict(self.to_answer)
        self.to_answer.clear()
        self._settle(broken=True)
        assert not self.to_answer_before, "requests of the hub that were not cancelled"

    @rule(seconds=st.sampled_from([0.1, 1, 20, 45, 61]))
    def waits(self, seconds: float) -> None:
        self.now += seconds
        self.relay.tick(self.now)
        self._settle()

    # ------------------------------------------------------------------------------------------------- what must hold

    def _settle(self, *, broken: bool = False) -> None:
        """Send what is to be sent, and look at all that came out."""
        while (text := self.relay.next_frame(self.now)) is not None:
            self._hub_gets(json.loads(text))
        for line in self.relay.take_lines():
            assert "\n" not in line
            assert "\r" not in line
            self._client_gets(json.loads(line), broken=broken)

    def _hub_gets(self, message: dict[str, Any]) -> None:
        hub = self.hub
        assert hub is not None, "something was sent without a connection"
        key = json.dumps(message.get("id"))
        own = key.startswith(f'"{PREFIX}')
        if "method" not in message:
            # An answer, and only to a request of this connection.
            assert hub.asked.pop(key, None) is not None, "the hub got an answer to nothing"
            hub.asked[f"done {key}"] = ""
            return
        method = message["method"]
        if self.shaken and not hub.greeted:
            assert (method, own) == ("initialize", True), f"{method} came before the handshake"
        if method == "notifications/initialized":
            assert hub.greeted
            assert not hub.ready, "initialized came twice"
            hub.ready = True
        if method == "notifications/cancelled":
            cancelled = json.dumps(message["params"]["requestId"])
            hub.pending.pop(cancelled, None)
            hub.listens.discard(cancelled)
        if "id" not in message:
            return
        assert key not in hub.pending, "one id twice on one connection"
        hub.pending[key] = message
        if own:
            assert method in ("initialize", "resources/subscribe", "resources/read", "logging/setLevel")
            return
        assert key in self.open, "a request that nobody waits for was sent"
        self.sent[key] = self.sent.get(key, 0) + 1
        if method in DOING or message["params"].get("name") in ("act", "plain", "receive_tasks"):
            assert self.sent[key] == 1, "what may have been done was sent again"
        if method == "subscriptions/listen":
            hub.listens.add(key)
            if key in self.acknowledged:
                self._acknowledge(key)
        else:
            assert self.sent[key] <= LIMITS.sendings

    def _client_gets(self, message: dict[str, Any], *, broken: bool) -> None:
        assert message["jsonrpc"] == "2.0"
        method = message.get("method")
        if method is None:
            if "id" not in message:
                assert message["error"]["code"] in (-32700, -32600)
                return
            key = json.dumps(message["id"])
            assert PREFIX not in key, "an answer to the bridge reached the client"
            assert key in self.open, "an answer to nothing, or a second one"
            request = self.open.pop(key)
            self.acknowledged.discard(key)
            error = message.get("error", {})
            if error.get("message") == IN_DOUBT:
                assert broken
                assert key in self.doubt
                assert request["method"] in ("tools/call", *DOING)
            self.doubt.discard(key)
        elif "id" in message:
            assert self.hub is not None
            assert message["id"] not in self.to_answer
            self.to_answer[message["id"]] = method
        elif method == "notifications/cancelled":
            assert broken
            assert message["params"]["requestId"] in self.to_answer_before, "cancelled what was not open"
            del self.to_answer_before[message["params"]["requestId"]]
        elif method == "notifications/subscriptions/acknowledged":
            key = json.dumps(message["params"]["_meta"][SUBSCRIPTION])
            assert key not in self.acknowledged, "acknowledged twice"
            self.acknowledged.add(key)

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        assert self.relay.waiting <= LIMITS.messages + len(self.to_answer) + 1
        assert self.relay.waiting_chars <= LIMITS.bytes + 1000
        assert self.relay.failure is None

    def teardown(self) -> None:
        """When the hub stays and answers everything, every request of the client gets its one answer."""
        if not hasattr(self, "relay"):
            return
        if self.hub is None:
            self.connects()
        self.waits(5)
        for _ in range(200):
            assert self.hub is not None
            waiting = [key for key in self.hub.pending if key not in self.hub.listens]
            if not waiting:
                break
            self._hub_answers(waiting[0], well=True)
        left = {key: request for key, request in self.open.items() if request["method"] != "subscriptions/listen"}
        assert not left, "requests without an answer"
        assert self.hub is not None
        assert set(self.open) == self.hub.listens, "listens that the hub does not know of"
        if self.hub.ready:
            assert self.client_watches - {"aicp://inbox"} <= self.hub.watched, "subscriptions that were not restored"


Network.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestNetwork = Network.TestCase
