"""Who is calling: tokens, names and scopes, in both eras and over both transports."""

import asyncio
import json
import time
from typing import Any

import httpx2 as httpx
import jwt
import pytest
import websockets

from tests.gateway.client import RawClient
from tests.gateway.conftest import SECRET, token
from tests.gateway.httpclient import ACCEPT, HttpClient, call_of
from tests.gateway.revisions import NEWEST, STATELESS, headers_of
from tests.gateway.speaker import KINDS, HttpSpeaker, Speaker, WebSocketSpeaker
from tests.support.processes import GatewayProcess


def _bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


NO_TOKENS: dict[str, dict[str, str]] = {
    "missing": {},
    "junk": _bearer("junk"),
    "empty": {"Authorization": "Bearer"},
    "basic": {"Authorization": "Basic YTpi"},
    "expired": _bearer(token(exp=int(time.time()) - 5)),
    "unsigned": _bearer(jwt.encode({"sub": "a", "exp": 9999999999}, "", algorithm="none")),
    "another key": _bearer(jwt.encode({"sub": "a", "exp": 9999999999}, SECRET + "x", algorithm="HS256")),
    "endless": _bearer(jwt.encode({"sub": "a"}, SECRET, algorithm="HS256")),
    "beyond all time": _bearer(jwt.encode({"sub": "a", "exp": 10**400}, SECRET, algorithm="HS256")),
    "nobody's": _bearer(jwt.encode({"exp": 9999999999}, SECRET, algorithm="HS256")),
    "a blank name": _bearer(token(sub=" ")),
    "no tenant": _bearer(token(tenant="")),
    "a tenant that is no text": _bearer(token(tenant=False)),
    "scopes that are no text": _bearer(token(scope=["fixture:echo"])),
    "two": _bearer(token() + f", Bearer {token()}"),
}


@pytest.mark.parametrize("headers", NO_TOKENS.values(), ids=NO_TOKENS)
async def test_who_has_no_good_token_is_told_to_bring_one(
    locked_gateway: GatewayProcess, headers: dict[str, str]
) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(locked_gateway.ws_url, additional_headers=headers)
    answers: list[Any] = [refused.value.response]
    assert json.loads(refused.value.response.body)["error"]["code"] == 401
    async with HttpClient(locked_gateway.http_url, headers=headers) as client:
        initialize = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}
        answers += [
            await client.post(initialize),
            await client.post({"jsonrpc": "2.0", "id": 0, "method": "ping"}, **{"mcp-session-id": "s-0"}),
            await client.ask(client.stateless("tools/list")),
            await client.http.get(client.url, headers={**client.headers, "accept": "text/event-stream"}),
            await client.http.delete(client.url, headers={**client.headers, "mcp-session-id": "s-0"}),
        ]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_a_token_for_a_name_that_cannot_be_is_refused(locked_gateway: GatewayProcess) -> None:
    for claims, status in (({"tenant": "a.b"}, 400), ({"agent": "router"}, 403)):
        headers = _bearer(token(**claims))
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(locked_gateway.ws_url, additional_headers=headers)
        assert refused.value.response.status_code == status
        async with HttpClient(locked_gateway.http_url, headers=headers) as client:
            assert (await client.ask(client.stateless("tools/list"))).status_code == status


async def test_a_session_ends_for_its_client_with_the_token_and_goes_on_with_a_new_one(
    locked_gateway: GatewayProcess,
) -> None:
    async with HttpClient(locked_gateway.http_url, headers=_bearer(token(exp=int(time.time()) + 2))) as client:
        await client.initialize()
        assert (await client.call("echo", text="x"))["agent"] == "alice"
        async with asyncio.timeout(10):
            while (await client.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code != 401:
                await asyncio.sleep(0.05)
        client.headers |= {"authorization": f"Bearer {token()}"}
        client.headers.pop("Authorization")
        assert (await client.call("echo", text="x"))["agent"] == "alice"


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
async def test_scopes_decide_what_one_sees_and_may_use(locked_gateway: GatewayProcess, kind: tuple[str, str]) -> None:
    transport, revision = kind

    async def check(speaker: Speaker, *, all_of_it: bool) -> None:
        async def names(method: str, key: str, name: str = "name") -> set[str]:
            return {each[name] for each in (await speaker.request(method)).result[key]}

        tools, prompts = await names("tools/list", "tools"), await names("prompts/list", "prompts")
        resources = await names("resources/list", "resources", "uri")
        assert "echo" in tools
        assert "visit" in prompts
        assert "fixture://still" in resources
        assert ("sleep" in tools, "greet" in prompts, "fixture://vault" in resources) == (all_of_it,) * 3
        said = (await speaker.call("echo", text="x")).result["structuredContent"]
        assert (said["tenant"], said["agent"].rpartition("-")[0]) == ("acme", "alice-example-com")
        slept = (await speaker.call("sleep", seconds=0.0)).answer
        greeted = (await speaker.request("prompts/get", {"name": "greet", "arguments": {"name": "Ann"}})).answer
        read = (await speaker.request("resources/read", {"uri": "fixture://vault"})).answer
        assert ("result" in slept, "result" in greeted, "result" in read) == (all_of_it,) * 3
        if not all_of_it:
            assert "'fixture:sleep'" in slept["error"]["message"]
            assert "vault" in read["error"]["message"]

    for scope, all_of_it in (("fixture:echo other", False), ("*", True), (None, True)):
        claims = {"sub": "Alice@example.com", "tenant": "acme"} | ({} if scope is None else {"scope": scope})
        headers = _bearer(token(**claims))
        if transport == "http":
            async with HttpClient(locked_gateway.http_url, headers=headers) as client:
                if revision != STATELESS:
                    await client.initialize(revision)
                await check(HttpSpeaker(client, revision, {}, _nobody), all_of_it=all_of_it)
        else:
            async with RawClient.connect(locked_gateway.ws_url, additional_headers=headers) as raw:
                if revision != STATELESS:
                    await raw.initialize(revision)
                await check(WebSocketSpeaker(raw, revision, {}, _nobody), all_of_it=all_of_it)


async def _nobody(request: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError(f"nobody wanted to be asked {request}")


async def test_guests_of_the_stateless_era_keep_a_name_for_each_program(gateway: GatewayProcess) -> None:
    async def name(client: HttpClient, **headers: str) -> str:
        message = client.stateless("tools/call", {"name": "echo", "arguments": {"text": "x"}})
        answer = await client.ask(message, **headers)
        agent: str = answer.json()["result"]["structuredContent"]["agent"]
        return agent

    async with HttpClient(gateway.http_url) as first, HttpClient(gateway.http_url) as second:
        names = {await name(client, **{"user-agent": "program/1"}) for client in (first, second, first)}
        assert len(names) == 1
        assert names.pop().startswith("guest-")
        assert await name(first, **{"user-agent": "program/1"}) != await name(first, **{"user-agent": "program/2"})
        # Whoever has a name is not a guest.
        assert await name(first, **{"x-aicp-agent": "Dora"}) == "dora"


async def test_guests_of_the_handshake_era_keep_a_name_for_the_session(gateway: GatewayProcess) -> None:
    async with HttpClient(gateway.http_url) as first, HttpClient(gateway.http_url) as second:
        await first.initialize(NEWEST)
        await second.initialize(NEWEST)
        names = [(await client.call("echo", text="x"))["agent"] for client in (first, first, second)]
        assert all(name.startswith("guest-") for name in names)
        assert names[0] == names[1] != names[2]


async def test_a_header_that_comes_twice_is_refused(gateway: GatewayProcess) -> None:
    """Whoever stands between may have looked at the one, and the gateway at the other."""
    async with HttpClient(f"{gateway.http_url}?agent=alice") as client:
        message = client.stateless("tools/call", {"name": "echo", "arguments": {"text": "x"}})
        body = json.dumps(message).encode()
        own = list({**ACCEPT, **headers_of(message)}.items())
        good = await client.http.post(client.url, content=body, headers=own)
        assert good.status_code == 200
        for twice in (("mcp-name", "echo"), ("mcp-name", "other"), ("mcp-method", "tools/call")):
            answer = await client.http.post(client.url, content=body, headers=[*own, twice])
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == -32020
        answer = await client.http.post(client.url, content=body, headers=[*own, ("mcp-protocol-version", STATELESS)])
        assert answer.status_code == 400
        await client.initialize()
        both = [*client.headers.items(), ("mcp-session-id", client.session)]
        answer = await client.http.post(client.url, json=call_of("echo", text="x"), headers=both)
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "http://evil.example:8080@localhost.evil.example"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost.evil.example"}, 403),
        ({"origin": "http://localhost:6274"}, 200),
        ({"origin": "http://127.0.0.1"}, 200),
        ({"origin": "http://[::1]:99"}, 200),
        ({"host": "localhost:1"}, 200),
        ({"host": "LOCALHOST"}, 200),
    ],
)
async def test_pages_and_names_of_other_machines_are_refused(
    gateway: GatewayProcess, headers: dict[str, str], status: int
) -> None:
    async with HttpClient(f"{gateway.http_url}?agent=alice") as client:
        answers: list[httpx.Response] = [
            await client.ask(client.stateless("tools/list"), **headers),
            await client.http.get(gateway.http_url.replace("/mcp", "/metrics"), headers=headers),
        ]
        if status != 200:
            answers += [
                await client.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}, **headers),
                await client.http.get(client.url, headers={**client.headers, **headers}),
                await client.http.delete(client.url, headers={**client.headers, **headers}),
            ]
    assert [answer.status_code for answer in answers] == [status] * len(answers)


async def test_pages_of_other_sites_are_refused_on_a_locked_hub_too(locked_gateway: GatewayProcess) -> None:
    async with HttpClient(locked_gateway.http_url, headers=_bearer(token())) as client:
        message = client.stateless("tools/list")
        assert (await client.ask(message, origin="https://evil.example")).status_code == 403
        # Where tokens are needed, any name of the hub will do, and pages of that name are its own.
        own = {"host": "hub.example", "origin": "https://hub.example"}
        assert (await client.ask(message, **own)).status_code == 200
