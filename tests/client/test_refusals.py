"""`aicp connect` in front of a hub that does not let it in: its client, its user and whoever started it learn why."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.client.bridge_process import Bridge, HubServer
from tests.client.conftest import SECRET
from tests.support.processes import GatewayProcess

REVISION = "2025-11-25"


def body(status: int, message: str) -> str:
    """What a hub refuses a connection with."""
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": status, "message": message}})


def token_for_s(seconds: int) -> str:
    """A token for `locked_hub` that is valid for so long."""
    claims = {"sub": "alice", "aud": "the-hub", "iss": "the-office", "exp": int(time.time()) + seconds}
    return jwt.encode(claims, SECRET, algorithm="HS256")


async def refused(bridge: Bridge) -> tuple[dict[str, Any], str, int]:
    """The error that a request gets, the one line on standard error, and the exit status."""
    error = (await bridge.ask("initialize", protocolVersion=REVISION))["error"]
    status = await bridge.status()
    await bridge.said("aicp connect: ")
    (line,) = bridge.log
    return error, line.removeprefix("aicp connect: "), status


@pytest.mark.parametrize(
    ("status", "arguments", "said", "code", "exit_status"),
    [
        (401, ("--token", "secret-token"), "{url} refuses the token: it has expired", 401, 3),
        (401, (), "{url} wants a token: it has expired", 401, 3),
        (403, (), "{url} refuses the connection: it has expired", 403, 1),
        (404, (), "{url} is a wrong address: it has expired", 503, 1),
        (400, (), "{url} refuses the connection: it has expired", 503, 1),
        (302, (), "{url} has moved to https://elsewhere/: use that address", 503, 1),
    ],
)
async def test_a_refusal_ends_it(
    own_hub: HubServer, status: int, arguments: tuple[str, ...], said: str, code: int, exit_status: int
) -> None:
    own_hub.refusal = (status, {"Location": "https://elsewhere/"}, body(status, "it has\nexpired"))
    async with Bridge.start("--url", own_hub.url, *arguments) as bridge:
        error, line, ended_with = await refused(bridge)
    said = said.format(url=own_hub.url)
    assert line == said
    assert (error["code"], error["message"], ended_with) == (code, said, exit_status)
    names = {401: "unauthenticated", 403: "forbidden", 503: "unavailable"}
    assert error["data"] == {"code": names[code], "message": said}


async def test_a_refusal_answers_what_was_asked_before_it_ends(own_hub: HubServer) -> None:
    await own_hub.fall()
    async with Bridge.start("--url", own_hub.url) as bridge:
        await bridge.said("no connection")
        id = await bridge.send("initialize", protocolVersion=REVISION)
        own_hub.refusal = (401, {}, "")
        await own_hub.rise()
        error = (await bridge.answer_to(id))["error"]
        assert (error["code"], "wants a token" in error["message"]) == (401, True)
        assert await bridge.status() == 3


async def test_a_token_that_runs_out_ends_it_without_another_attempt(own_hub: HubServer) -> None:
    async with Bridge.start("--url", own_hub.url, "--token", "t") as bridge:
        side = await own_hub.connection()
        await own_hub.attempt()
        reading = await bridge.send("tools/list")
        acting = await bridge.send("tools/call", name="act", arguments={})
        await side.came()
        await side.came()
        await side.socket.close(4401, "the token has expired")
        said = f"{own_hub.url} refuses the token: the token has expired"
        error = (await bridge.answer_to(reading))["error"]
        assert (error["code"], error["message"]) == (401, said)
        error = (await bridge.answer_to(acting))["error"]
        in_doubt = "the call was under way, it may or may not have been done: look before you do it again"
        assert (error["code"], error["message"]) == (401, f"{said}; {in_doubt}")
        assert await bridge.status() == 3
        await bridge.said("refuses the token")
        assert bridge.log == [f"aicp connect: {said}"]
        assert own_hub.attempts.empty()


async def test_a_token_that_runs_out_and_has_been_renewed_goes_on(own_hub: HubServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    async with Bridge.start("--url", own_hub.url, "--token-file", str(file)) as bridge:
        side = await own_hub.connection()
        file.write_text("second")
        await side.socket.close(4401, "the token has expired")
        await own_hub.attempt()
        assert (await own_hub.attempt()).headers["Authorization"] == "Bearer second"
        side = await own_hub.connection()
        await bridge.said("connected again")
        asking = asyncio.create_task(bridge.ask("ping"))
        await side.answer(await side.came(), {"here": True})
        assert (await asking)["result"] == {"here": True}
        # That one runs out as well, and there is no third.
        await side.socket.close(4401, "the token has expired")
        assert await bridge.status() == 3


async def test_a_token_file_that_is_just_being_written_is_waited_for(own_hub: HubServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    async with Bridge.start("--url", own_hub.url, "--token-file", str(file)) as bridge:
        side = await own_hub.connection()
        file.write_text("")
        await side.socket.close(4401, "the token has expired")
        await bridge.said("no connection")
        file.write_text("second")
        await own_hub.connection()
        await bridge.said("connected again")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "wants a token: a token is needed; expected: the header Authorization: Bearer TOKEN"),
        (("--token", "junk"), "refuses the token: the token is not valid: not enough segments"),
        (("--token", token_for_s(-60)), "refuses the token: the token is not valid: signature has expired"),
    ],
)
async def test_a_real_hub_says_itself_what_is_wrong_with_a_token(
    locked_hub: GatewayProcess, arguments: tuple[str, ...], said: str
) -> None:
    async with Bridge.start("--url", locked_hub.ws_url, *arguments) as bridge:
        error, line, status = await refused(bridge)
    assert said in line
    assert "aicp token --sub NAME" in line
    assert (error["code"], error["message"], status) == (401, line, 3)


async def test_a_real_hub_ends_a_conversation_whose_token_expires(locked_hub: GatewayProcess) -> None:
    async with Bridge.start("--url", locked_hub.ws_url, "--token", token_for_s(4)) as bridge:
        await bridge.initialize()
        waiting = await bridge.send("tools/call", name="receive_tasks", arguments={"wait_s": 30})
        error = (await bridge.answer_to(waiting))["error"]
        assert error["code"] == 401
        assert "refuses the token: the token has expired" in error["message"]
        assert await bridge.status() == 3
        await bridge.said("the token has expired")
        assert len(bridge.log) == 1


async def test_a_wrong_path_is_answered_with_the_hubs_hint(hub: GatewayProcess) -> None:
    async with Bridge.start("--url", f"ws://127.0.0.1:{hub.port}/other") as bridge:
        error, line, status = await refused(bridge)
    assert line.endswith(
        "/other is a wrong address: nothing at /other; this is an AICP hub: connect an MCP client to /mcp,"
        " over WebSocket or Streamable HTTP"
    )
    assert (error["code"], error["message"], status) == (503, line, 1)
