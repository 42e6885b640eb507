"""Any conversation at all: whatever client, services and transport do in whatever order, the books are right."""

import itertools
import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from aicp_common.errors import Internal, NotFound, Unavailable
from aicp_gateway.protocol.actions import Action, Answered, Answers, Ask, Batch, Call, Cancel, Listen, Send, Unwatch
from aicp_gateway.protocol.revisions import BATCHES, HANDSHAKE, STATELESS
from aicp_gateway.protocol.stateless import Stateless
from tests.gateway.engine import announced
from tests.gateway.engine.announced import FIXTURE, OTHER
from tests.gateway.engine.oracle import check_ask, check_message, check_send
from tests.gateway.engine.peer import EVERYTHING, Peer, notification, reply, request

MAX_IN_FLIGHT = 4

ids = st.sampled_from([1, 2, "1", "a", 'é"'])
capabilities = st.sampled_from([{}, {"roots": {}}, {"elicitation": {}, "sampling": {}}, EVERYTHING])

requests = st.sampled_from(
    [
        ("ping", {}),
        ("tools/list", {}),
        ("tools/call", {"name": "echo", "arguments": {"text": "a"}}),
        ("tools/call", {"name": "echo", "_meta": {"progressToken": "t"}}),
        ("tools/call", {"name": "form"}),
        ("tools/call", {"name": "hidden"}),
        ("tools/call", {}),
        ("resources/list", {}),
        ("resources/read", {"uri": "fixture://things/a"}),
        ("resources/subscribe", {"uri": "fixture://moving"}),
        ("resources/unsubscribe", {"uri": "fixture://moving"}),
        ("prompts/get", {"name": "greet"}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "a", "value": ""}},
        ),
        ("logging/setLevel", {"level": "debug"}),
        ("server/discover", {}),
        (
            "subscriptions/listen",
            {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["fixture://moving"]}},
        ),
        ("tasks/get", {"taskId": "task-1"}),
        ("no/such", {}),
    ]
)

questions = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(
        [
            {"method": "roots/list"},
            {"method": "elicitation/create", "params": {"mode": "form", "message": "m", "requestedSchema": {}}},
            {"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://x"}},
            {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}},
            {"method": "ping"},
        ]
    ),
)

bodies = st.sampled_from([b"{}", b'{"content":[]}', b'{"_meta":{"a":1}}', b'{"taskId":"task-1"}', b"[]", b""])


class Conversing(RuleBasedStateMachine):
    """One client in one conversation; the model is the calls and subscriptions under way, by raw id."""

    under_way: Bundle[Call] = Bundle("under_way")
    listening: Bundle[Listen] = Bundle("listening")
    asking: Bundle[Ask] = Bundle("asking")
    sealed: Bundle[tuple[str, dict[str, Any], str]] = Bundle("sealed")

    def __init__(self) -> None:
        super().__init__()
        self.in_flight: dict[bytes, Call | Listen] = {}
        self.asked: set[str] = set()
        self.time = itertools.count(1000)
        self.catalogue = announced.catalogue(page_size=2)

    @initialize(revision=st.sampled_from([STATELESS, *HANDSHAKE]), capabilities=capabilities, early=st.booleans())
    def open(self, revision: str, capabilities: dict[str, Any], early: bool) -> None:
        self.peer = Peer(
            revision,
            capabilities=capabilities,
            catalogue=self.catalogue,
            max_in_flight=MAX_IN_FLIGHT,
            initialized=not early,
        )
        self.agreed = "" if early or revision == STATELESS else revision
        self.modern = Peer(STATELESS, capabilities=capabilities)
        self.modern.conversation = self.peer.conversation

    # What the client does

    @rule(revision=st.sampled_from(HANDSHAKE), capabilities=capabilities, id=ids)
    def say_initialize(self, revision: str, capabilities: dict[str, Any], id: Any) -> None:
        params = {"protocolVersion": revision, "capabilities": capabilities}
        told = self.peer.told(request("initialize", params, id))
        assert (told["id"], told["result"]["protocolVersion"]) == (id, revision)
        self.agreed = revision

    @rule(target=under_way, asked=requests, id=ids, modern=st.booleans())
    def ask_for_something(self, asked: tuple[str, dict[str, Any]], id: Any, modern: bool) -> Any:
        peer = self.modern if modern else self.peer
        return multiple(*self.began(peer.receive(peer.message(*asked, id)), [id]))

    @rule(target=listening, id=ids, uris=st.lists(st.sampled_from(["fixture://moving", "no://such"]), max_size=3))
    def subscribe(self, id: Any, uris: list[str]) -> Any:
        message = self.modern.message("subscriptions/listen", {"notifications": {"resourceSubscriptions": uris}}, id)
        self.began(self.modern.receive(message), [id])
        opened = self.in_flight.get(json.dumps(id, ensure_ascii=False).encode())
        return opened if isinstance(opened, Listen) else multiple()

    @rule(target=under_way, asked=st.lists(st.tuples(requests, ids), min_size=1, max_size=4))
    def ask_for_several_things(self, asked: list[tuple[tuple[str, dict[str, Any]], Any]]) -> Any:
        actions = self.peer.receive([request(*each, id) for each, id in asked])
        if self.agreed != BATCHES:
            [refusal] = actions
            assert isinstance(refusal, Send)
            assert check_send(refusal, None)["error"]["code"] == -32600
            return multiple()
        [batch] = actions
        assert isinstance(batch, Batch)
        assert batch.answers == len(asked)
        return multiple(*self.began(batch.actions, [id for _, id in asked]))

    @rule(id=ids)
    def cancel(self, id: Any) -> None:
        raw = json.dumps(id).encode()
        assert self.peer.receive(notification("notifications/cancelled", {"requestId": id})) == [Cancel(raw)]
        self.in_flight.pop(raw, None)

    @rule(id=st.text(max_size=3))
    def answer_what_was_not_asked(self, id: str) -> None:
        [answered] = self.peer.receive({"jsonrpc": "2.0", "id": id, "result": {}})
        assert isinstance(answered, Answered)
        assert answered.id == id
        assert id not in self.asked

    @rule(target=under_way, retry=sealed, id=ids, again=st.booleans())
    def retry(self, retry: tuple[str, dict[str, Any], str], id: Any, again: bool) -> Any:
        method, params, state = retry
        brought = {"requestState": state if again else state[:-1], "inputResponses": {"a": {"roots": []}}}
        began = self.began(self.modern.receive(self.modern.message(method, {**params, **brought}, id)), [id])
        for call in began:
            assert again
            assert call.resumed is not None
            assert call.resumed.state == "kept"
        return multiple(*began)

    @rule(method=st.sampled_from(["tools/list", "resources/list", "resources/templates/list", "prompts/list"]))
    def read_all_pages(self, method: str) -> None:
        params: dict[str, Any] = {}
        seen: list[str] = []
        while True:
            result = self.modern.result(method, params)
            [entries] = [value for value in result.values() if isinstance(value, list)]
            seen += [json.dumps(entry) for entry in entries]
            if "nextCursor" not in result:
                break
            params = {"cursor": result["nextCursor"]}
        assert len(set(seen)) == len(seen)

    # What services do

    @rule(call=under_way, body=bodies, kind=st.sampled_from(["complete", "task", "input_required"]))
    def a_service_answers(self, call: Call, body: bytes, kind: str) -> None:
        outcome = call.exchange.conclude(call, reply(body, kind))
        assert isinstance(outcome, Send)
        check_send(outcome, call.id)
        self.finish(call)

    @rule(call=under_way, error=st.sampled_from([Unavailable("a"), NotFound("b"), Internal("c", hint="d")]))
    def a_service_fails(self, call: Call, error: Any) -> None:
        check_send(call.exchange.fail(call, error), call.id)
        self.finish(call)

    @rule(target=asking, call=under_way, requests=questions)
    def a_service_asks(self, call: Call, requests: dict[str, Any]) -> Any:
        outcome = call.exchange.conclude(call, reply({"inputRequests": requests, "state": "kept"}, "input_required"))
        if isinstance(outcome, Ask):
            check_ask(outcome)
            assert call.exchange.revision in HANDSHAKE
            assert not self.asked & outcome.requests.keys()
            self.asked |= outcome.requests.keys()
            return outcome
        check_send(outcome, call.id)
        self.finish(call)
        return multiple()

    @rule(target=sealed)
    def a_service_keeps_something(self) -> Any:
        peer = Peer(STATELESS, capabilities=EVERYTHING)
        params = {"name": "echo", "arguments": {"text": "a"}}
        told = peer.concluded(peer.call("tools/call", params), {"inputRequests": {}, "state": "kept"}, "input_required")
        return "tools/call", params, told["result"]["requestState"]

    @rule(target=under_way, ask=consumes(asking))
    def the_client_answers(self, ask: Ask) -> Call:
        call = ask.call.exchange.resume(ask, Answers({id: {"roots": []} for id in ask.requests}))
        assert call is ask.call
        assert call.resumed is not None
        assert call.resumed.answers.keys() == set(ask.keys.values())
        return call

    @rule(call=under_way, progress=st.integers(0, 3))
    def a_service_tells_of_progress(self, call: Call, progress: int) -> None:
        before = call.progress
        message = call.exchange.progress(call, b'{"progress":%d}' % progress)
        assert (message is not None) == (call.progress_token is not None and progress > before)
        if message is not None:
            assert check_message(message)["params"] == {"progressToken": call.progress_token, "progress": progress}

    @rule(listen=listening)
    def a_subscription_is_acknowledged(self, listen: Listen) -> None:
        assert isinstance(listen.exchange, Stateless)
        check_message(listen.exchange.acknowledge(listen, set(listen.watches)))

    @rule(listen=listening)
    def a_subscription_ends(self, listen: Listen) -> None:
        assert isinstance(listen.exchange, Stateless)
        check_message(listen.exchange.conclude_listen(listen))
        self.finish(listen)

    @rule(fixture=st.booleans(), other=st.booleans())
    def services_come_and_go(self, fixture: bool, other: bool) -> None:
        now = float(next(self.time)) * 1000
        for there, announcement in ((fixture, FIXTURE), (other, OTHER)):
            if there:
                self.catalogue.hear(announcement, now)
        self.catalogue.forget_silent(now)

    # The books

    def began(self, actions: list[Action], ids: list[Any]) -> list[Call]:
        """Take the answers and calls of requests with these ids into the books; the calls."""
        found = []
        answered = []
        for action in actions:
            match action:
                case Send():
                    answered.append(json.dumps(check_message(action.message)["id"]))
                case Call() | Listen():
                    assert action.id not in self.in_flight
                    self.in_flight[action.id] = action
                    answered.append(json.dumps(json.loads(action.id)))
                    if isinstance(action, Call):
                        found.append(action)
                case _:
                    assert isinstance(action, Unwatch)
        assert sorted(answered) == sorted(json.dumps(id) for id in ids)
        return found

    def finish(self, request: Call | Listen) -> None:
        self.peer.conversation.finish(request)
        if self.in_flight.get(request.id) is request:
            del self.in_flight[request.id]

    @invariant()
    def what_is_in_flight_is_what_has_begun_and_not_ended(self) -> None:
        if hasattr(self, "peer"):
            assert self.peer.conversation._in_flight == self.in_flight
            assert len(self.in_flight) <= MAX_IN_FLIGHT

    @invariant()
    def what_was_agreed_is_what_was_said_last(self) -> None:
        if hasattr(self, "peer"):
            assert self.peer.conversation.agreed.revision == self.agreed

    def teardown(self) -> None:
        for begun in list(self.in_flight.values()):
            self.finish(begun)
        if hasattr(self, "peer"):
            assert not self.peer.conversation._in_flight


TestConversing = Conversing.TestCase
TestConversing.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
