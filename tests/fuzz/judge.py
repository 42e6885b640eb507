"""The judge: plays a play on the engine, and holds what comes of it against what has to hold."""

import json
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

from aicp_common.bus import Reply as ServiceReply
from aicp_common.errors import NotFound, Unavailable
from aicp_gateway.protocol.actions import Action, Answers, Ask, Batch, Call, Listen, Send
from aicp_gateway.protocol.revisions import HANDSHAKE, STATELESS
from aicp_gateway.protocol.stateless import Stateless
from tests.fuzz.play import STATE, Open, Reply, Say, Serve, Step, read
from tests.gateway.engine import announced
from tests.gateway.engine.oracle import (
    LEGACY_ONLY,
    check_answer,
    check_ask,
    check_message,
    check_result_of_stateless,
    check_send,
    count_answers,
)
from tests.gateway.engine.peer import EVERYTHING, VERSION_KEY, Peer, headers_of

MAX_BYTES = 8 * 1024
"""Of one message; plays may be longer."""

SECONDS = 0.25
SECONDS_PER_BYTE = 10e-6
"""A message may use so much of the processor. Most take a fraction of a millisecond: what grows with the square of the
length is found at some thousand bytes."""

PEAK_BYTES = 512 * 1024
PEAK_BYTES_PER_BYTE = 100
"""A message may need so much memory. An array of numbers takes 50 bytes for each of its own when it is taken apart."""

CATALOGUE = announced.catalogue(page_size=3)

ResultT = TypeVar("ResultT")


def judge(data: bytes) -> None:
    """Play a play.

    Raises:
        AssertionError: an answer is wrong, or took more time or memory than its message explains.
        Exception: what the engine raises, which it never should.
    """
    # Counting memory takes its time: it is done for one play in eight and for long ones, always the same.
    counting = len(data) > 4096 or zlib.crc32(data) % 8 == 0
    if counting:
        tracemalloc.start()
    try:
        _Stage().play(read(data))
    finally:
        if counting:
            tracemalloc.stop()


def _within_bounds(size: int, act: Callable[[], ResultT]) -> ResultT:
    """Let the engine act on so many bytes, within their time and memory."""
    if tracemalloc.is_tracing():
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = act()
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak <= PEAK_BYTES + PEAK_BYTES_PER_BYTE * size, f"{peak} bytes of memory for {size} bytes"
        return result
    began = time.thread_time()
    result = act()
    took = time.thread_time() - began
    assert took <= SECONDS + SECONDS_PER_BYTE * size, f"{took:.3f} s for {size} bytes"
    return result


class _Stage:
    """One play."""

    def __init__(self) -> None:
        self._peer = self._client(STATELESS)
        self._begun: list[Call | Listen] = []
        self._asked: list[Ask] = []
        self._state = b""

    def _client(self, revision: str) -> Peer:
        return Peer(revision, capabilities=EVERYTHING, catalogue=CATALOGUE, max_in_flight=4)

    def play(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case Open(revision):
                    if revision in HANDSHAKE:
                        self._finish_all()
                        self._peer = self._client(revision)
                case Say():
                    self._say(step)
                case Serve():
                    self._serve(step)
                case Reply(result):
                    self._reply(result)
        self._finish_all()

    def _say(self, say: Say) -> None:
        data = say.data.replace(STATE, self._state)
        headers = say.headers
        decoded = _decode(data)
        if say.right_headers and isinstance(decoded, dict):
            headers = _right_headers(decoded) | (headers or {})
        actions = _within_bounds(len(data), lambda: self._peer.conversation.receive(data, MAX_BYTES, headers))
        if len(data) > MAX_BYTES:
            [refusal] = actions
            assert isinstance(refusal, Send)
            assert "error" in check_message(refusal.message)
            return
        if isinstance(decoded, dict):
            _check_count(actions, decoded, data)
        self._take(actions)

    def _take(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    decoded = check_message(action.message)
                    check_send(action, json.dumps(decoded["id"]).encode() if "id" in decoded else None)
                case Call() | Listen():
                    check_answer(b'{"jsonrpc":"2.0","id":%b,"result":{}}' % action.id, action.id)
                    self._begun.append(action)
                    if isinstance(action, Listen):
                        _check_listen(action)
                case Batch(inner, answers):
                    assert answers == count_answers(inner)
                    assert not any(isinstance(each, Batch | Listen) for each in inner)
                    self._take(inner)

    def _serve(self, serve: Serve) -> None:
        begun = self._begun[0] if self._begun else None
        if begun is None:
            return
        if serve.what == "finish" or isinstance(begun, Listen):
            self._finish(begun)
            return
        match serve.what:
            case "progress":
                message = begun.exchange.progress(begun, serve.body)
                if message is not None and isinstance(_decode(serve.body), dict):
                    assert json.loads(message)["method"] == "notifications/progress"
            case "fail":
                error = NotFound("gone") if serve.body else Unavailable("away")
                _check_era(begun, check_send(begun.exchange.fail(begun, error), begun.id))
                self._finish(begun)
            case "complete" | "task" | "input_required":
                self._conclude(begun, serve)

    def _conclude(self, call: Call, serve: Serve) -> None:
        fits = isinstance(_decode(serve.body), dict)
        reply = ServiceReply(serve.body, kind=serve.what)
        outcome = _within_bounds(len(serve.body), lambda: call.exchange.conclude(call, reply))
        if isinstance(outcome, Ask):
            check_ask(outcome)
            self._asked.append(outcome)
            return
        self._finish(call)
        if not fits and serve.what != "input_required":
            return  # what is spliced into the answer as it is, is the service's to get right
        if b"\n" in serve.body:
            outcome = Send(outcome.message.replace(b"\n", b" "), outcome.status)
        decoded = _tolerant(outcome.message) if serve.what != "input_required" else check_send(outcome, call.id)
        if b"\\u" not in serve.body:  # or the service may have doubled a key of the protocol, in another spelling
            _check_era(call, decoded)
        if serve.what == "input_required" and "requestState" in decoded.get("result", {}):
            self._state = decoded["result"]["requestState"].encode()

    def _reply(self, result: bytes) -> None:
        if not self._asked:
            return
        ask = self._asked.pop(0)
        answer = _decode(result)
        answers = Answers({id: answer if isinstance(answer, dict) else {} for id in ask.requests})
        call = ask.call.exchange.resume(ask, answers)
        assert call.resumed is not None
        assert call.resumed.answers.keys() == set(ask.keys.values())

    def _finish(self, begun: Call | Listen) -> None:
        self._begun.remove(begun)
        self._peer.conversation.finish(begun)

    def _finish_all(self) -> None:
        for begun in list(self._begun):
            self._finish(begun)
        self._asked.clear()
        assert not self._peer.conversation._in_flight


def _check_listen(listen: Listen) -> None:
    assert isinstance(listen.exchange, Stateless)
    check_message(listen.exchange.acknowledge(listen, set(listen.watches)))
    for task_id in set(listen.wanted.task_ids) & listen.watches.keys():
        task = listen.exchange.get_task(listen, task_id).body
        assert check_message(listen.exchange.task_changed(listen, task))["params"]["taskId"] == task_id
    check_result_of_stateless(check_answer(listen.exchange.conclude_listen(listen), listen.id))


def _check_era(call: Call, decoded: dict[str, Any]) -> None:
    if call.exchange.revision != STATELESS:
        return
    if "error" in decoded:
        assert decoded["error"]["code"] not in LEGACY_ONLY
    else:
        check_result_of_stateless(decoded)


def _check_count(actions: list[Action], decoded: dict[str, Any], data: bytes) -> None:
    """Each request has one answer, one call or one subscription, and a notification has none."""
    if decoded.get("jsonrpc") != "2.0" or not isinstance(decoded.get("method"), str):
        return
    if not isinstance(decoded.get("params", {}), dict):
        return
    if "id" not in decoded:
        # Half of a pair of surrogates is JSON for Python's parser alone.
        assert count_answers(actions) == 0 or _is_deep(data) or b"\\u" in data
        return
    id = decoded["id"]
    if isinstance(id, bool) or not isinstance(id, str | int) or len(json.dumps(id)) > 40 or "\\ud" in json.dumps(id):
        return  # not an id that can be echoed, or almost not
    assert count_answers(actions) == 1
    [action] = [each for each in actions if isinstance(each, Send | Call | Listen)]
    if isinstance(action, Send):
        answer = check_message(action.message)
        assert answer.get("id") == id or _is_deep(data), answer
        meta = decoded.get("params", {}).get("_meta")
        if isinstance(meta, dict) and meta.get(VERSION_KEY) == STATELESS and "result" in answer:
            check_result_of_stateless(answer)
    else:
        assert json.loads(action.id) == id


def _is_deep(data: bytes) -> bool:
    """Whether it may be nested too deeply for one parser and not yet for another."""
    return data.count(b"[") + data.count(b"{") > 200


def _tolerant(message: bytes) -> dict[str, Any]:
    # Doubled keys and the like are in it when they were in what the service answered.
    decoded = json.loads(message)
    assert isinstance(decoded, dict)
    assert decoded["jsonrpc"] == "2.0"
    assert ("result" in decoded) != ("error" in decoded)
    return decoded


def _decode(data: bytes) -> Any:
    """The JSON of a message as another parser reads it; None: that cannot read it either."""
    try:
        return json.loads(data.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> None:
    raise ValueError(name)


def _right_headers(decoded: dict[str, Any]) -> dict[str, str]:
    try:
        headers = headers_of(decoded)
        return headers if all(isinstance(value, str) for value in headers.values()) else {}
    except (AttributeError, KeyError, TypeError, UnicodeEncodeError):
        return {}
