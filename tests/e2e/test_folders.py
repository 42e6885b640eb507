"""A folder of contexts as a client sees it: read, followed, and caught up with after a break."""

import asyncio
import json
import secrets
from typing import Any

from tests.gateway.client import RawClient
from tests.support.processes import GatewayProcess


async def _read(client: RawClient, uri: str) -> dict[str, Any]:
    (contents,) = (await client.request("resources/read", {"uri": uri}))["result"]["contents"]
    document: dict[str, Any] = json.loads(contents["text"])
    return document


async def _next_update(client: RawClient) -> str:
    async with asyncio.timeout(5):
        while True:
            said = await client.notifications.get()
            if said["method"] == "notifications/resources/updated":
                return str(said["params"]["uri"])


async def test_a_folder_is_read_followed_and_caught_up_with(hub: GatewayProcess) -> None:
    home = f"folders-{secrets.token_hex(4)}"
    folder = f"aicp://context/{home}/"
    async with (
        RawClient.connect(hub.ws_url, f"reads-{home}") as reader,
        RawClient.connect(hub.ws_url, f"writes-{home}") as writer,
    ):
        await reader.initialize()
        await writer.initialize()
        await writer.call("share_context", context_key=f"{home}/a", context_value=1)
        known = await _read(reader, folder)
        assert [(one["key"], one["value"]) for one in known["entries"]] == [(f"{home}/a", 1)]

        await reader.request("resources/subscribe", {"uri": folder})
        for key in (f"{home}/deep/b", f"{home}x/c", f"{home}/a"):
            await writer.call("share_context", context_key=key, context_value=2)
            if not key.startswith(f"{home}x/"):
                assert await _next_update(reader) == folder
        assert reader.notifications.empty()

        await reader.request("resources/unsubscribe", {"uri": folder})
        await writer.call("delete_context", context_key=f"{home}/a")
        missed = await reader.call("get_context", prefix=f"{home}/", changed_since=known["revision"])
        assert [(one["key"], one.get("deleted", False)) for one in missed["entries"]] == [
            (f"{home}/deep/b", False),
            (f"{home}/a", True),
        ]


async def test_a_large_folder_is_read_page_by_page(hub: GatewayProcess) -> None:
    home = f"pages-{secrets.token_hex(4)}"
    async with RawClient.connect(hub.ws_url, f"pages-{home}") as client:
        await client.initialize()
        for number in range(5):
            await client.call("share_context", context_key=f"{home}/{number}", context_value="x" * 100_000)
        found, uri = [], f"aicp://context/{home}/"
        while uri:
            page = await _read(client, uri)
            found += [one["key"] for one in page["entries"]]
            uri = page.get("next_uri", "")
        assert found == [f"{home}/{number}" for number in range(5)]
