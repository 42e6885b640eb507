"""Redis going away and coming back, as clients see it."""

import asyncio

from tests.gateway.client import RawClient
from tests.gateway.conftest import plugin_and_gateway
from tests.gateway.eventsource import events, messages
from tests.gateway.httpclient import HttpClient, call_of
from tests.gateway.revisions import NEWEST
from tests.support.processes import Backend, wait_until_listening


async def test_what_needs_no_redis_goes_on_and_the_rest_says_what_is_missing(own_backend: Backend) -> None:
    with plugin_and_gateway(own_backend) as (_, gateway):
        async with (
            RawClient.connect(gateway.ws_url, "alice") as raw,
            HttpClient(f"{gateway.http_url}?agent=alice") as client,
            HttpClient(f"{gateway.http_url}?agent=alice") as stateless,
        ):
            await raw.initialize()
            await client.initialize(NEWEST)
            steps = [["end_stream"], ["wait", "go"]]
            async with client.post_stream(call_of("play", 1, steps=steps)) as response:
                [last] = [event.id async for event in events(response) if event.id]
            uri = "fixture://things/a"
            await client.request("resources/subscribe", {"uri": uri})
            async with client.get() as stream, client.get(last) as resumed:
                own_backend.redis.kill()
                # Neither a WebSocket nor the stateless era keeps anything there.
                assert (await raw.call("echo", text="x"))["text"] == "x"
                discover = await stateless.ask(stateless.stateless("tools/list"))
                assert discover.status_code == 200
                # A session does.
                refused = await client.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})
                assert refused.status_code == 503
                assert "Redis" in refused.json()["error"]["message"]
                async with client.get() as another:
                    assert another.status_code == 503
                # The stream of the call ends, for it cannot be read on; that of the session goes on.
                async with asyncio.timeout(20):
                    assert [event async for event in events(resumed) if event.data] == []
                await raw.call("change", name="a")
                assert (await asyncio.wait_for(anext(messages(stream)), 10))["params"] == {"uri": uri}
            own_backend.redis.start()
            await asyncio.to_thread(wait_until_listening, own_backend.redis, own_backend.redis_port)
            assert (await client.call("echo", text="x"))["agent"] == "alice"
            coming = asyncio.create_task(_last(client, last))
            await client.call("write_log", entry="go")
            assert (await coming)["id"] == 1
        assert "Traceback" not in gateway.process.output()


async def _last(client: HttpClient, last: str) -> dict[str, object]:
    async with asyncio.timeout(10), client.get(last) as response:
        return [message async for message in messages(response)][-1]
