"""Coming back to the event stream of a call, with `Last-Event-ID`, on whichever gateway."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest
from redis.asyncio import Redis

from tests.gateway.eventsource import Event, events
from tests.gateway.httpclient import HttpClient, call_of
from tests.gateway.revisions import BATCHES, NEWEST, OLDEST
from tests.support.processes import Backend, GatewayProcess


@pytest.fixture
async def client(gateway: GatewayProcess) -> AsyncIterator[HttpClient]:
    """In a session of the newest handshake revision."""
    async with HttpClient(f"{gateway.http_url}?agent=a{secrets.token_hex(4)}") as made:
        await made.initialize(NEWEST)
        yield made


@pytest.fixture(params=["same", "other"])
async def back(
    request: pytest.FixtureRequest, client: HttpClient, gateway: GatewayProcess, other_gateway: GatewayProcess
) -> AsyncIterator[HttpClient]:
    """The same session, where the client comes back: at the gateway that it was at, or at another."""
    where = gateway if request.param == "same" else other_gateway
    async with client.twin(f"{where.http_url}?{client.urls[0].partition('?')[2]}") as made:
        yield made


async def _all(response: httpx.Response) -> list[Event]:
    return [event async for event in events(response) if event.comment is None]


async def _resumed(client: HttpClient, last: str) -> list[Event]:
    """Everything that a client gets that comes back after the event `last`, up to the answer."""
    async with asyncio.timeout(10), client.get(last) as response:
        assert response.status_code == 200
        return await _all(response)


async def _broken_off(client: HttpClient, message: Any, count: int) -> list[Event]:
    """The first `count` events of a call whose connection breaks then."""
    async with client.twin() as frail, frail.post_stream(message) as response:
        stream = events(response)
        return [await anext(stream) for _ in range(count)]


def _progress(seen: list[Event]) -> list[int]:
    return [event.message["params"]["progress"] for event in seen if event.data and "method" in event.message]


@pytest.mark.parametrize(("revision", "primed"), [(NEWEST, True), ("2025-06-18", False), (BATCHES, False)])
async def test_events_have_ids_and_the_newest_revision_begins_with_an_empty_one(
    gateway: GatewayProcess, revision: str, primed: bool
) -> None:
    async with HttpClient(f"{gateway.http_url}?agent=a{secrets.token_hex(4)}") as client:
        await client.initialize(revision)
        ids = []
        for _ in range(2):
            async with client.post_stream(call_of("play", 1, 1, steps=[["progress", 1], ["progress", 2]])) as response:
                seen = await _all(response)
            assert [event.data for event in seen if not event.data] == ([""] if primed else [])
            assert _progress(seen) == [1, 2]
            ids += [event.id for event in seen]
        assert all(ids)
        assert len(set(ids)) == len(ids)


async def test_the_oldest_revision_cannot_come_back(gateway: GatewayProcess) -> None:
    async with HttpClient(f"{gateway.http_url}?agent=a{secrets.token_hex(4)}") as client:
        await client.initialize(OLDEST)
        async with client.post_stream(call_of("play", 1, 1, steps=[["progress", 1], ["end_stream"]])) as response:
            seen = await _all(response)
        assert [event.id for event in seen] == ["", ""]
        assert _progress(seen) == [1]
        assert "result" in seen[-1].message


@pytest.mark.parametrize("revision", [NEWEST, BATCHES])
async def test_a_stream_that_the_server_ends_says_when_to_come_back_and_what_follows_is_kept(
    gateway: GatewayProcess, other_gateway: GatewayProcess, revision: str
) -> None:
    async with HttpClient(f"{gateway.http_url}?agent=alice", f"{other_gateway.http_url}?agent=alice") as client:
        await client.initialize(revision)
        mark = secrets.token_hex(4)
        steps = [["end_stream"], ["wait", mark], ["progress", 1]]
        async with asyncio.timeout(10), client.post_stream(call_of("play", 5, 1, steps=steps)) as response:
            seen = await _all(response)
        assert [event.data for event in seen if event.id] == [""]
        assert seen[-1].retry_ms == 500
        last = seen[0].id
        coming = [asyncio.create_task(_resumed(client, last)) for _ in range(2)]
        await client.call("write_log", entry=mark)
        # Before the answer is there or after it, at either gateway, and more than once.
        coming += [asyncio.create_task(_resumed(client, last)) for _ in range(2)]
        for seen in await asyncio.gather(*coming):
            assert _progress(seen) == [1]
            assert (seen[-1].message["id"], "result" in seen[-1].message) == (5, True)


async def test_a_client_that_comes_back_gets_what_it_missed_and_what_follows(
    client: HttpClient, back: HttpClient
) -> None:
    mark = secrets.token_hex(4)
    steps = [*(["progress", number] for number in range(1, 6)), ["wait", mark], ["progress", 6]]
    seen = await _broken_off(client, call_of("play", 9, 1, steps=steps), 4)
    assert _progress(seen) == [1, 2, 3]
    coming = asyncio.create_task(_resumed(back, seen[-1].id))
    await client.call("write_log", entry=mark)
    rest = await coming
    assert _progress(rest) == [4, 5, 6]
    assert rest[-1].message["id"] == 9
    # With the last event known nothing follows; from the middle, the rest is there again.
    assert await _resumed(back, rest[-1].id) == []
    assert _progress(await _resumed(back, rest[1].id)) == [6]
    assert _progress(await _resumed(back, seen[0].id)) == [1, 2, 3, 4, 5, 6]


async def test_a_call_that_can_be_come_back_to_goes_on_without_its_client(client: HttpClient, back: HttpClient) -> None:
    mark, done = secrets.token_hex(4), secrets.token_hex(4)
    steps = [["progress", 1], ["wait", mark], ["write", done]]
    seen = await _broken_off(client, call_of("play", 1, 1, steps=steps, mark=mark), 2)
    await client.call("write_log", entry=mark)
    async with asyncio.timeout(10):
        await client.call("wait_for_log", entry=done)
    assert f"cancelled {mark}" not in (await client.call("read_log"))["entries"]
    assert "result" in (await _resumed(back, seen[-1].id))[-1].message


async def test_a_call_without_a_stream_ends_with_its_connection(client: HttpClient) -> None:
    mark = secrets.token_hex(4)
    async with client.twin() as frail:
        steps = [["write", f"began {mark}"], ["sleep", 30]]
        calling = asyncio.create_task(frail.post(call_of("play", 1, 1, steps=steps, mark=mark)))
        await client.call("wait_for_log", entry=f"began {mark}")
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    async with asyncio.timeout(10):
        await client.call("wait_for_log", entry=f"cancelled {mark}")


async def test_in_the_stateless_era_and_before_streams_had_ids_a_broken_stream_ends_the_call(
    gateway: GatewayProcess, client: HttpClient
) -> None:
    mark = secrets.token_hex(4)
    arguments = {"steps": [["progress", 1], ["sleep", 30]], "mark": mark}
    async with HttpClient(f"{gateway.http_url}?agent=alice") as frail:
        message = frail.stateless("tools/call", {"name": "play", "arguments": arguments}, token=1)
        async with frail.ask_stream(message) as response:
            event = await anext(events(response))
            assert (event.id, event.message["params"]["progress"]) == ("", 1)
    async with asyncio.timeout(10):
        await client.call("wait_for_log", entry=f"cancelled {mark}")
    old_mark = arguments["mark"] = secrets.token_hex(4)
    async with HttpClient(f"{gateway.http_url}?agent=alice") as frail:
        await frail.initialize(OLDEST)
        async with frail.post_stream(call_of("play", 1, 1, **arguments)) as response:
            await anext(events(response))
    async with asyncio.timeout(10):
        await client.call("wait_for_log", entry=f"cancelled {old_mark}")


async def test_a_stream_that_is_not_there_is_not_found(client: HttpClient, back: HttpClient) -> None:
    for last in ("p0123456789ab-1", "p-1", "x-999999999", "no-such-stream-3", "junk", "-", "p-x"):
        async with back.get(last) as response:
            await response.aread()
            assert response.status_code == 404, last
            assert "stream" in response.json()["error"]["message"]


async def test_a_stream_that_has_lapsed_is_not_found(backend: Backend, client: HttpClient) -> None:
    async with client.post_stream(call_of("play", 1, 1, steps=[["progress", 1]])) as response:
        first = (await _all(response))[0].id
    stream = first.rpartition("-")[0]
    redis = Redis.from_url(backend.redis_url, decode_responses=True)
    [key] = [each async for each in redis.scan_iter(match=f"*{stream}*")]
    # It would have lapsed by itself, within minutes.
    assert 60 < await redis.ttl(key) <= 300
    await redis.delete(key)
    await redis.aclose()
    async with client.get(first) as response:
        assert response.status_code == 404


async def test_a_stream_of_another_session_cannot_be_read(client: HttpClient, gateway: GatewayProcess) -> None:
    mark = secrets.token_hex(4)
    steps = [["progress", 1, None, "secret"], ["wait", mark]]
    last = (await _broken_off(client, call_of("play", 1, 1, steps=steps), 2))[0].id
    # Neither by another agent, nor by the same one in another session.
    for name in ("mallory", client.urls[0].partition("agent=")[2]):
        async with HttpClient(f"{gateway.http_url}?agent={name}") as thief:
            await thief.initialize(NEWEST)
            async with thief.get(last) as response:
                await response.aread()
                assert response.status_code == 404
                assert "secret" not in response.text
    async with HttpClient(f"{gateway.http_url}?agent=mallory") as thief:
        thief.headers["mcp-session-id"] = client.session
        async with thief.get(last) as response:
            assert response.status_code == 404
    await client.call("write_log", entry=mark)
    assert _progress(await _resumed(client, last)) == [1]


async def test_the_end_of_the_session_ends_the_streams_that_clients_came_back_to(
    client: HttpClient, back: HttpClient
) -> None:
    mark = secrets.token_hex(4)
    last = (await _broken_off(client, call_of("play", 1, 1, steps=[["progress", 1], ["wait", mark]]), 2))[0].id
    async with asyncio.timeout(10), back.get(last) as response:
        stream = events(response)
        while (await anext(stream)).data is None:
            pass
        await client.delete()
        assert [event async for event in stream if event.data] == []
    async with HttpClient(*client.urls) as another:
        await another.initialize()
        await another.call("write_log", entry=mark)


async def test_what_is_handed_over_goes_back_when_the_client_is_away_and_it_finds_an_error(
    client: HttpClient, back: HttpClient
) -> None:
    mark = secrets.token_hex(4)
    hand_over = call_of("hand_over", 1, seconds=0.0, mark=mark, end_stream=True, wait=f"go {mark}")
    async with client.post_stream(hand_over) as response:
        last = (await _all(response))[0].id
    await client.call("write_log", entry=f"go {mark}")
    async with asyncio.timeout(10):
        await client.call("wait_for_log", entry=f"undone {mark}")
    found = (await _resumed(back, last))[-1].message["result"]
    assert found["isError"] is True
    assert "went back" in found["content"][0]["text"]


async def test_what_is_handed_over_to_a_client_that_is_there_stays(client: HttpClient) -> None:
    mark = secrets.token_hex(4)
    steps = call_of("hand_over", 1, seconds=0.0, mark=mark)
    answer = await client.post(steps)
    assert answer.json()["result"]["structuredContent"] == {"slept": True}
    assert f"undone {mark}" not in (await client.call("read_log"))["entries"]


async def test_a_call_that_is_cancelled_ends_for_the_client_that_comes_back(
    client: HttpClient, back: HttpClient
) -> None:
    mark = secrets.token_hex(4)
    steps = [["end_stream"], ["write", f"began {mark}"], ["sleep", 30]]
    async with client.post_stream(call_of("play", "slow", steps=steps, mark=mark)) as response:
        last = (await _all(response))[0].id
    await client.call("wait_for_log", entry=f"began {mark}")
    coming = asyncio.create_task(_resumed(back, last))
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "slow"}}
    assert (await back.post(cancelled)).status_code == 202
    assert (await coming)[-1].message["result"]["isError"] is True


@contextlib.asynccontextmanager
async def _call_at_a_gateway_of_its_own(
    backend: Backend, gateway: GatewayProcess
) -> AsyncIterator[tuple[GatewayProcess, HttpClient, str, str]]:
    """A gateway with a call under way whose stream is closed; a client at another; the mark; the last event's id."""
    own = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture"})
    await asyncio.to_thread(own.start().wait)
    try:
        async with HttpClient(f"{own.http_url}?agent=alice") as client:
            await client.initialize(NEWEST)
            mark = secrets.token_hex(4)
            steps = [["end_stream"], ["write", f"began {mark}"], ["sleep", 40]]
            async with client.post_stream(call_of("play", 1, steps=steps, mark=mark)) as response:
                last = (await _all(response))[0].id
            client.urls = (f"{gateway.http_url}?agent=alice",)
            await client.call("wait_for_log", entry=f"began {mark}")
            yield own, client, mark, last
    finally:
        own.stop()


async def test_a_stream_whose_gateway_dies_lapses_soon(
    backend: Backend, gateway: GatewayProcess, other_gateway: GatewayProcess
) -> None:
    async with _call_at_a_gateway_of_its_own(backend, gateway) as (own, client, _, last):
        redis = Redis.from_url(backend.redis_url, decode_responses=True)
        [key] = [each async for each in redis.scan_iter(match=f"*{last.rpartition('-')[0]}*")]
        assert 0 < await redis.ttl(key) <= 60
        own.kill()
        async with asyncio.timeout(10), client.get(last) as response:
            # As long as it is there the client waits; then it is told that there is none.
            assert response.status_code == 200
            await redis.delete(key)
            assert [event async for event in events(response) if event.data] == []
        async with client.get(last) as response:
            assert response.status_code == 404
        await redis.aclose()


async def test_a_call_whose_gateway_is_stopped_ends_with_an_error_for_the_client_that_comes_back(
    backend: Backend, gateway: GatewayProcess
) -> None:
    async with _call_at_a_gateway_of_its_own(backend, gateway) as (own, client, mark, last):
        coming = asyncio.create_task(_resumed(client, last))
        assert await asyncio.to_thread(own.stop) == 0
        result = (await coming)[-1].message["result"]
        assert result["isError"] is True
        await client.call("wait_for_log", entry=f"cancelled {mark}")
