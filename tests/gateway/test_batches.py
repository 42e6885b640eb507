"""Batches of revision 2025-03-26: several messages that come together, and whose answers go out together."""

import asyncio
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gateway.client import RawClient
from tests.gateway.eventsource import messages
from tests.gateway.httpclient import HttpClient, call_of
from tests.gateway.revisions import BATCHES, EVERYTHING
from tests.support.processes import GatewayProcess


class Batcher(ABC):
    """Sends batches over one transport."""

    def __init__(self, client: RawClient | HttpClient) -> None:
        self.client = client
        self.before: list[dict[str, Any]] = []
        """What came before the answers of the last batch."""

    @abstractmethod
    async def send(self, *batch: dict[str, Any]) -> None:
        """A batch that has no answer."""

    @abstractmethod
    async def exchange(self, *batch: dict[str, Any]) -> list[dict[str, Any]]:
        """A batch; its answers."""


class WebSocketBatcher(Batcher):
    """Over WebSocket."""

    client: RawClient

    async def send(self, *batch: dict[str, Any]) -> None:
        await self.client.send(list(batch))

    async def exchange(self, *batch: dict[str, Any]) -> list[dict[str, Any]]:
        first = len(self.client.heard)
        await self.send(*batch)
        answers: Any = await asyncio.wait_for(self.client.orphans.get(), 20)
        self.before = [each for each in self.client.heard[first:] if "method" in each]
        assert isinstance(answers, list), answers
        return answers


class HttpBatcher(Batcher):
    """Over Streamable HTTP."""

    client: HttpClient

    async def send(self, *batch: dict[str, Any]) -> None:
        answer = await self.client.post(list(batch))
        assert (answer.status_code, answer.content) == (202, b"")

    async def exchange(self, *batch: dict[str, Any]) -> list[dict[str, Any]]:
        async with asyncio.timeout(20), self.client.post_stream(list(batch)) as response:
            assert response.status_code == 200
            if response.headers["content-type"] == "application/json":
                answers: Any = json.loads(await response.aread())
            else:
                *self.before, answers = [each async for each in messages(response)]
        assert isinstance(answers, list), answers
        return answers


@pytest.fixture(params=["websocket", "http"])
async def batcher(request: pytest.FixtureRequest, gateway: GatewayProcess) -> AsyncIterator[Batcher]:
    """A client of the revision that has batches."""
    agent = f"a{secrets.token_hex(4)}"
    if request.param == "http":
        async with HttpClient(f"{gateway.http_url}?agent={agent}") as client:
            await client.initialize(BATCHES, EVERYTHING)
            yield HttpBatcher(client)
    else:
        async with RawClient.connect(gateway.ws_url, agent) as raw:
            await raw.initialize(BATCHES, EVERYTHING)
            yield WebSocketBatcher(raw)


def _ping(id: int | str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": "ping"}


def _notification(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": f"notifications/{method}", "params": params}


def _by_id(answers: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {answer.get("id"): answer for answer in answers}


async def test_the_answers_come_together_each_under_its_id(batcher: Batcher) -> None:
    answers = await batcher.exchange(
        _ping("p"),
        call_of("echo", 1, text="one"),
        _notification("initialized"),
        call_of("echo", "1", text="two"),
        call_of("no such tool", 3),
        {"jsonrpc": "2.0", "id": 4, "method": "resources/read", "params": {"uri": "fixture://things/missing"}},
        {"jsonrpc": "2.0", "id": 5, "method": "no/such"},
        {"jsonrpc": "2.0", "id": 6, "method": "tools/list"},
        {"jsonrpc": "1.0", "id": 7, "method": "ping"},
    )
    found = _by_id(answers)
    assert found.keys() == {"p", 1, "1", 3, 4, 5, 6, 7}
    assert len(answers) == 8
    assert found["p"]["result"] == {}
    assert found[1]["result"]["structuredContent"]["text"] == "one"
    assert found["1"]["result"]["structuredContent"]["text"] == "two"
    assert [found[id]["error"]["code"] for id in (3, 4, 5, 7)] == [-32602, -32002, -32601, -32600]
    assert "echo" in {tool["name"] for tool in found[6]["result"]["tools"]}


async def test_a_batch_of_one_is_answered_with_an_array(batcher: Batcher) -> None:
    assert await batcher.exchange(_ping(1)) == [{"jsonrpc": "2.0", "id": 1, "result": {}}]
    [answer] = await batcher.exchange(call_of("echo", 2, text="x"))
    assert answer["id"] == 2


async def test_a_batch_of_notifications_has_no_answer(batcher: Batcher) -> None:
    await batcher.send(
        _notification("initialized"), _notification("cancelled", requestId=99), _notification("whatever")
    )
    assert await batcher.exchange(_ping(1)) == [{"jsonrpc": "2.0", "id": 1, "result": {}}]


async def test_the_slowest_answer_is_waited_for_and_others_are_worked_on_at_once(batcher: Batcher) -> None:
    mark = secrets.token_hex(4)
    # Neither can end before the other has begun.
    first = [["write", f"a {mark}"], ["wait", f"b {mark}"]]
    second = [["write", f"b {mark}"], ["wait", f"a {mark}"]]
    answers = await batcher.exchange(call_of("play", 1, steps=first), call_of("play", 2, steps=second), _ping(3))
    assert _by_id(answers).keys() == {1, 2, 3}


async def test_progress_comes_before_the_answers(batcher: Batcher) -> None:
    steps = [["progress", 1], ["progress", 2]]
    answers = await batcher.exchange(
        call_of("play", 1, "one", steps=steps), call_of("play", 2, "two", steps=steps), _ping(3)
    )
    assert _by_id(answers).keys() == {1, 2, 3}
    for token in ("one", "two"):
        told = [each["params"]["progress"] for each in batcher.before if each["params"]["progressToken"] == token]
        assert told == [1, 2]


async def test_resources_are_subscribed_to_and_no_more_within_a_batch(batcher: Batcher) -> None:
    uri = f"fixture://things/{secrets.token_hex(4)}"
    answers = await batcher.exchange(
        {"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": uri}},
        {"jsonrpc": "2.0", "id": 2, "method": "resources/unsubscribe", "params": {"uri": f"{uri}-other"}},
    )
    assert {id: answer["result"] for id, answer in _by_id(answers).items()} == {1: {}, 2: {}}


async def test_calls_of_a_batch_may_ask_the_client(batcher: Batcher) -> None:
    ask = [["ask", {"it": "roots"}]]
    batch = [call_of("play", id, steps=ask) for id in (1, 2)]
    given = {"roots": [{"uri": "file:///home/ann"}]}
    if isinstance(batcher, HttpBatcher):
        async with asyncio.timeout(20), batcher.client.post_stream(batch) as response:
            stream = messages(response)
            for _ in range(2):
                asked = await anext(stream)
                await batcher.client.post({"jsonrpc": "2.0", "id": asked["id"], "result": given})
            answers: Any = await anext(stream)
    else:
        assert isinstance(batcher.client, RawClient)
        exchange = asyncio.create_task(batcher.exchange(*batch))
        for _ in range(2):
            asked = await asyncio.wait_for(batcher.client.requests.get(), 10)
            await batcher.client.send({"jsonrpc": "2.0", "id": asked["id"], "result": given})
        answers = await exchange
    assert [each["result"]["structuredContent"]["answers"]["it"] for each in answers] == [given, given]


async def test_a_member_that_is_cancelled_holds_up_nobody(batcher: Batcher) -> None:
    mark = secrets.token_hex(4)
    slow = [["write", f"began {mark}"], ["sleep", 30]]
    exchange = asyncio.create_task(
        batcher.exchange(call_of("play", "slow", steps=slow, mark=mark), call_of("echo", 2, text="x"))
    )
    await batcher.client.call("wait_for_log", entry=f"began {mark}")
    cancel = _notification("cancelled", requestId="slow")
    if isinstance(batcher.client, RawClient):
        await batcher.client.send(cancel)
    else:
        assert (await batcher.client.post(cancel)).status_code == 202
    found = _by_id(await exchange)
    assert found[2]["result"]["structuredContent"]["text"] == "x"
    # Over WebSocket it has no answer; over HTTP the service's word that it was cancelled may stand in its place.
    assert found.keys() <= {2, "slow"}
    async with asyncio.timeout(10):
        await batcher.client.call("wait_for_log", entry=f"cancelled {mark}")


async def test_a_member_that_is_cancelled_in_the_same_batch_holds_up_nobody(gateway: GatewayProcess) -> None:
    async with RawClient.connect(gateway.ws_url, "alice") as raw:
        await raw.initialize(BATCHES)
        batcher = WebSocketBatcher(raw)
        cancel = _notification("cancelled", requestId=1)
        answers = await batcher.exchange(call_of("sleep", 1, seconds=30.0), cancel, _ping(2))
        assert answers == [{"jsonrpc": "2.0", "id": 2, "result": {}}]
        # Where all are cancelled there is nothing to answer.
        await batcher.send(call_of("sleep", 3, seconds=30.0), _notification("cancelled", requestId=3))
        assert (await batcher.exchange(_ping(4)))[0]["id"] == 4


async def test_what_is_handed_over_in_a_batch_waits_for_no_other_member(batcher: Batcher) -> None:
    mark, go = secrets.token_hex(4), secrets.token_hex(4)
    # The other member takes longer than the hand-over can wait for its client.
    hand_over = call_of("hand_over", 1, seconds=0.0, mark=mark)
    exchange = asyncio.create_task(batcher.exchange(hand_over, call_of("play", 2, steps=[["wait", go]])))
    async with asyncio.timeout(10):
        await batcher.client.call("wait_for_log", entry=f"undone {mark}")
    await batcher.client.call("write_log", entry=go)
    found = _by_id(await exchange)
    assert found[1]["result"]["isError"] is True
    assert "went back" in found[1]["result"]["content"][0]["text"]
    assert "result" in found[2]
    # Alone it can be handed over.
    alone = secrets.token_hex(4)
    [answer] = await batcher.exchange(call_of("hand_over", 3, seconds=0.0, mark=alone))
    assert answer["result"]["structuredContent"] == {"slept": True}
    assert f"undone {alone}" not in (await batcher.client.call("read_log"))["entries"]
