"""What comes before an answer, and the form of the answer: JSON or an event stream."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.gateway.eventsource import Event, events
from tests.gateway.httpclient import HttpClient, call_of
from tests.gateway.revisions import NEWEST, OLDEST, STATELESS
from tests.gateway.speaker import KINDS, Speaker, speaking
from tests.support.processes import Backend, GatewayProcess

JSON, EVENT_STREAM = "application/json", "text/event-stream"


@pytest.fixture(params=KINDS, ids="-".join)
async def speaker(request: pytest.FixtureRequest, gateway: GatewayProcess) -> AsyncIterator[Speaker]:
    """A client of each transport and era."""
    async with speaking(request.param, gateway) as made:
        yield made


async def test_progress_and_log_messages_come_in_order_before_the_answer(speaker: Speaker) -> None:
    steps = [
        step
        for number in range(1, 21)
        for step in (["progress", number, 20, f"step {number}"], ["log", "info", number])
    ]
    done = await speaker.play(*steps, token="t-1", level="info")
    assert [(each["progress"], each["message"]) for each in done.told("notifications/progress")] == [
        (number, f"step {number}") for number in range(1, 21)
    ]
    assert {each["progressToken"] for each in done.told("notifications/progress")} == {"t-1"}
    assert [each["data"] for each in done.told("notifications/message")] == list(range(1, 21))
    # And they kept their places between each other.
    assert [message["method"].rpartition("/")[2] for message in done.before] == ["progress", "message"] * 20
    assert done.content_type in ("", EVENT_STREAM)
    assert done.result["structuredContent"]["answers"] == {}


async def test_an_answer_that_comes_first_is_plain_json(speaker: Speaker) -> None:
    done = await speaker.call("echo", text="x", token=7, level="debug")
    assert (done.before, done.content_type in ("", JSON)) == ([], True)
    assert done.result["structuredContent"]["text"] == "x"


async def test_progress_that_does_not_grow_is_left_out(speaker: Speaker) -> None:
    done = await speaker.play(["progress", 1], ["progress", 1], ["progress", 0.5], ["progress", 2], token=0)
    assert [each["progress"] for each in done.told("notifications/progress")] == [1, 2]
    assert {each["progressToken"] for each in done.told("notifications/progress")} == {0}


async def test_who_does_not_ask_for_progress_or_logs_gets_none(speaker: Speaker) -> None:
    done = await speaker.play(["progress", 1], ["log", "debug", "x"])
    assert done.before == []
    assert done.content_type in ("", JSON)


async def test_log_messages_below_the_level_are_left_out(speaker: Speaker) -> None:
    if speaker.revision != STATELESS:
        assert (await speaker.request("logging/setLevel", {"level": "error"})).result == {}
    done = await speaker.play(
        ["log", "warning", "low"], ["log", "error", "high"], ["log", "critical", "higher"], level="error"
    )
    assert [each["data"] for each in done.told("notifications/message")] == ["high", "higher"]


async def test_calls_at_once_do_not_mix_their_progress(speaker: Speaker) -> None:
    async def climb(number: int) -> list[float]:
        steps = [["progress", number * 100 + step] for step in range(1, 6)]
        done = await speaker.play(*steps, token=f"token-{number}")
        told = done.told("notifications/progress")
        return [each["progress"] for each in told if each["progressToken"] == f"token-{number}"]

    for number, climbed in enumerate(await asyncio.gather(*(climb(number) for number in range(8)))):
        assert climbed == [number * 100 + step for step in range(1, 6)]


async def test_an_error_after_progress_is_the_last_message_of_the_stream(speaker: Speaker) -> None:
    done = await speaker.play(["progress", 1], ["fail", "it broke"], token=1)
    assert [each["progress"] for each in done.told("notifications/progress")] == [1]
    assert done.result["isError"] is True
    assert "it broke" in done.text


@pytest.fixture(params=[NEWEST, OLDEST, STATELESS])
async def client(request: pytest.FixtureRequest, gateway: GatewayProcess) -> AsyncIterator[tuple[HttpClient, bool]]:
    """A client over HTTP, and whether it is of the stateless era."""
    async with HttpClient(f"{gateway.http_url}?agent=a{secrets.token_hex(4)}") as made:
        if request.param != STATELESS:
            await made.initialize(request.param)
        yield made, request.param == STATELESS


async def test_a_client_that_takes_no_event_stream_gets_json(client: tuple[HttpClient, bool]) -> None:
    made, stateless = client
    made.headers["accept"] = JSON
    arguments = {"steps": [["progress", 1], ["end_stream"], ["log", "error", "x"]]}
    if stateless:
        message = made.stateless("tools/call", {"name": "play", "arguments": arguments}, token=1, level="debug")
        answer = await made.ask(message)
    else:
        answer = await made.post(call_of("play", 1, 1, **arguments))
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert answer.json()["result"]["structuredContent"]["answers"] == {}


async def test_event_streams_tell_proxies_to_leave_them_alone(client: tuple[HttpClient, bool]) -> None:
    made, stateless = client
    arguments = {"steps": [["progress", 1]]}
    call = call_of("play", 1, 1, **arguments)
    if stateless:
        call = made.stateless("tools/call", {"name": "play", "arguments": arguments}, token=1)
    async with made.ask_stream(call) if stateless else made.post_stream(call) as response:
        assert response.headers["content-type"] == EVENT_STREAM
        assert response.headers["x-accel-buffering"] == "no"
        assert "no-cache" in response.headers["cache-control"]
        seen = [event async for event in events(response)]
    assert [event.message.get("method", "answer") for event in seen if event.data] == [
        "notifications/progress",
        "answer",
    ]
    assert {event.kind for event in seen if event.data} == {"message"}
    # Only the newest of these three begins with an event that a client could come back after, and has ids at all.
    assert [bool(event.id) for event in seen] == (
        [True] * 3 if made.headers.get("mcp-protocol-version") == NEWEST else [False] * 2
    )


async def test_streams_with_nothing_to_say_say_so_and_what_they_belong_to_lives_on(
    backend: Backend, other_gateway: GatewayProcess
) -> None:
    """In this one test the interval of 15 s is waited for, by all kinds of streams at once."""
    gateway = other_gateway

    async def first_comment(stream: AsyncIterator[Event]) -> str:
        async for event in stream:
            if event.comment is not None and event.comment != "open":
                return event.comment
        raise AssertionError("the stream has ended")

    async with contextlib.AsyncExitStack() as stack:
        agent = f"a{secrets.token_hex(4)}"
        new = await stack.enter_async_context(HttpClient(f"{gateway.http_url}?agent={agent}"))
        old = await stack.enter_async_context(HttpClient(f"{gateway.http_url}?agent={agent}"))
        stateless = await stack.enter_async_context(HttpClient(f"{gateway.http_url}?agent={agent}"))
        await new.initialize(NEWEST)
        await old.initialize(OLDEST)
        mark = secrets.token_hex(4)
        waits: dict[str, Any] = {"steps": [["wait", mark]]}
        listen = stateless.stateless("subscriptions/listen", {"notifications": {}})
        waiting = [
            new.get(),
            stateless.ask_stream(listen),
            new.post_stream(call_of("play", 1, **waits)),
            old.post_stream(call_of("play", 1, **waits)),
            stateless.ask_stream(stateless.stateless("tools/call", {"name": "play", "arguments": waits})),
        ]
        await new.request("resources/subscribe", {"uri": f"fixture://things/{mark}"})
        redis = Redis.from_url(backend.redis_url, decode_responses=True)
        kept = [key async for key in redis.scan_iter(match=f"*{new.session}*")]
        # The session and what it is subscribed to; later the stream of its call.
        assert len(kept) == 2
        for key in kept:
            await redis.expire(key, 40)
        opened = await asyncio.gather(*(stack.enter_async_context(each) for each in waiting))
        streams = [events(response) for response in opened]
        said = await asyncio.wait_for(asyncio.gather(*(first_comment(each) for each in streams)), 30)
        assert said == ["alive"] * 5
        kept = [key async for key in redis.scan_iter(match=f"*{new.session}*")]
        assert len(kept) == 3
        assert all([await redis.ttl(key) > 40 for key in kept])
        await redis.aclose()
        # The calls go on, and their answers come on the streams that the comments began.
        await new.call("write_log", entry=mark)
        for stream in streams[2:]:
            last = [event async for event in stream][-1]
            assert last.message["result"]["structuredContent"]["answers"] == {}
