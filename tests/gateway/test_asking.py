"""What services ask clients: forms for the person, prompts for the LLM, folders; in both eras, over both transports."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gateway.client import RawClient
from tests.gateway.conftest import token
from tests.gateway.eventsource import events, messages
from tests.gateway.httpclient import HttpClient, call_of
from tests.gateway.revisions import EVERYTHING, NEWEST, STATELESS
from tests.gateway.speaker import KINDS, Refusal, Speaker, WebSocketSpeaker, obliging, speaking
from tests.support.processes import Backend, GatewayProcess, ServiceProcess

METHODS = {"form": "elicitation/create", "llm": "sampling/createMessage", "roots": "roots/list"}
FORMS_SINCE = "2025-06-18"


@pytest.fixture(params=KINDS, ids="-".join)
async def speaker(
    request: pytest.FixtureRequest, gateway: GatewayProcess, other_gateway: GatewayProcess
) -> AsyncIterator[Speaker]:
    """A client of each transport and era; over HTTP every request goes to the other gateway, answers too."""
    async with speaking(request.param, gateway, other_gateway) as made:
        yield made


async def test_each_kind_of_question_reaches_the_client_and_its_answer_the_service(speaker: Speaker) -> None:
    for kind, method in METHODS.items():
        done = await speaker.play(["ask", {"it": kind}])
        if kind == "form" and speaker.revision < FORMS_SINCE:
            assert done.result["isError"] is True
            assert speaker.asked == []
            continue
        assert speaker.asked[-1]["method"] == method
        assert done.result["structuredContent"]["answers"] == {"it": await speaker.person({"method": method})}


async def test_several_questions_at_once_and_several_rounds(speaker: Speaker) -> None:
    questions = {kind: kind for kind in METHODS if kind != "form" or speaker.revision >= FORMS_SINCE}
    steps: list[Any] = [["ask", questions], ["progress", 1], ["ask", {"again": "llm"}], ["ask", questions]]
    done = await speaker.play(*steps, token=1)
    assert {each["method"] for each in speaker.asked[:-1]} == {METHODS[kind] for kind in questions}
    assert len(speaker.asked) == len(questions) + 1
    answers = done.result["structuredContent"]["answers"]
    assert answers.keys() == {*questions, "again"}
    assert answers["llm"] == answers["again"] == await obliging({"method": METHODS["llm"]})


async def test_a_service_that_wants_to_be_called_again_is(speaker: Speaker) -> None:
    done = await speaker.play(["again"], ["again"], ["ask", {"it": "roots"}])
    assert done.result["structuredContent"]["answers"].keys() == {"it"}


async def test_what_the_client_refuses_is_a_failed_call_that_says_so(
    gateway: GatewayProcess, other_gateway: GatewayProcess
) -> None:
    async def unwilling(request: dict[str, Any]) -> dict[str, Any]:
        raise Refusal("not now")

    for kind in (("websocket", NEWEST), ("http", NEWEST)):
        async with speaking(kind, gateway, other_gateway, person=unwilling) as speaker:
            done = await speaker.play(["ask", {"it": "form"}])
            assert done.result["isError"] is True
            assert "not now" in done.text


async def test_answers_that_are_no_object_are_a_failed_call(gateway: GatewayProcess) -> None:
    async with RawClient.connect(gateway.ws_url, "alice") as client:
        await client.initialize(NEWEST, EVERYTHING)
        for wrong in ({"result": 5}, {"result": [1]}, {"error": "x"}, {"error": {"message": 7}}, {"result": None}):
            calling = asyncio.create_task(client.call_raw("play", {"steps": [["ask", {"it": "roots"}]]}))
            asked = await asyncio.wait_for(client.requests.get(), 10)
            await client.send({"jsonrpc": "2.0", "id": asked["id"], **wrong})
            assert (await asyncio.wait_for(calling, 10))["isError"] is True, wrong


async def test_a_client_that_cannot_be_asked_is_told_what_it_lacks(gateway: GatewayProcess) -> None:
    for kind in KINDS:
        async with speaking(kind, gateway, capabilities={"roots": {}}) as speaker:
            done = await speaker.play(["ask", {"it": "form"}])
            assert speaker.asked == []
            if speaker.revision == STATELESS:
                assert done.answer["error"]["code"] == -32021
                assert done.answer["error"]["data"] == {"requiredCapabilities": {"elicitation": {}}}
            else:
                assert done.result["isError"] is True
                assert "elicitation" in done.text


async def test_two_clients_at_once_do_not_mix(gateway: GatewayProcess, other_gateway: GatewayProcess) -> None:
    def called(name: str) -> Any:
        async def person(request: dict[str, Any]) -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"roots": [{"uri": f"file:///{name}"}]}

        return person

    async def one(number: int) -> None:
        name = f"person-{number}"
        kind = KINDS[number % len(KINDS)]
        async with speaking(kind, gateway, other_gateway, person=called(name)) as speaker:
            for _ in range(3):
                plays = [speaker.play(["ask", {"a": "roots"}], ["ask", {"b": "roots"}]) for _ in range(3)]
                for done in await asyncio.gather(*plays):
                    answers = done.result["structuredContent"]["answers"]
                    said = {key: answer["roots"][0]["uri"] for key, answer in answers.items()}
                    assert said == dict.fromkeys("ab", f"file:///{name}")

    await asyncio.gather(*(one(number) for number in range(2 * len(KINDS))))


async def test_answers_of_others_and_with_wrong_ids_are_ignored(
    gateway: GatewayProcess, other_gateway: GatewayProcess
) -> None:
    accepted = {"action": "accept", "content": {"name": "Ann"}}
    forged = {"action": "accept", "content": {"name": "Mallory"}}
    async with contextlib.AsyncExitStack() as stack:
        alice = await stack.enter_async_context(HttpClient(f"{gateway.http_url}?agent=alice"))
        await alice.initialize(NEWEST, EVERYTHING)
        raw = await stack.enter_async_context(RawClient.connect(gateway.ws_url, "alice"))
        await raw.initialize(NEWEST, EVERYTHING)
        thieves = []
        for where in (gateway, other_gateway):
            thief = await stack.enter_async_context(HttpClient(f"{where.http_url}?agent=alice"))
            await thief.initialize(NEWEST, EVERYTHING)
            thieves.append(thief)
        raw_thief = await stack.enter_async_context(RawClient.connect(gateway.ws_url, "alice"))
        await raw_thief.initialize(NEWEST, EVERYTHING)
        async with alice.post_stream(call_of("play", 1, steps=[["ask", {"it": "form"}]])) as response:
            stream = messages(response)
            asked = await asyncio.wait_for(anext(stream), 10)
            for thief in thieves:
                stolen = {"jsonrpc": "2.0", "id": asked["id"], "result": forged}
                assert (await thief.post(stolen)).status_code == 202
            await raw_thief.send({"jsonrpc": "2.0", "id": asked["id"], "result": forged})
            for id in ("aicp-0", 1, None, asked["id"] + "x"):
                assert (await alice.post({"jsonrpc": "2.0", "id": id, "result": forged})).status_code == 202
            assert (await raw_thief.request("ping"))["result"] == {}
            answer = {"jsonrpc": "2.0", "id": asked["id"], "result": accepted}
            assert (await alice.twin(f"{other_gateway.http_url}?agent=alice").post(answer)).status_code == 202
            done = await asyncio.wait_for(anext(stream), 10)
            assert done["result"]["structuredContent"]["answers"] == {"it": accepted}
            # Once is enough: what comes later is ignored.
            assert (await alice.post(answer)).status_code == 202
        # And over WebSocket.
        calling = asyncio.create_task(raw.call_raw("play", {"steps": [["ask", {"it": "form"}]]}))
        asked = await asyncio.wait_for(raw.requests.get(), 10)
        await raw_thief.send({"jsonrpc": "2.0", "id": asked["id"], "result": forged})
        assert (await raw_thief.request("ping"))["result"] == {}
        await raw.send({"jsonrpc": "2.0", "id": asked["id"], "result": accepted})
        assert (await asyncio.wait_for(calling, 10))["structuredContent"]["answers"] == {"it": accepted}


async def test_a_client_that_takes_no_event_stream_is_not_asked_in_the_handshake_era(gateway: GatewayProcess) -> None:
    async with HttpClient(f"{gateway.http_url}?agent=alice") as client:
        await client.initialize(NEWEST, EVERYTHING)
        client.headers["accept"] = "application/json"
        answer = await client.post(call_of("play", 1, steps=[["ask", {"it": "form"}]]))
        assert answer.json()["result"]["isError"] is True
        assert "text/event-stream" in answer.text


async def test_a_question_is_kept_for_a_client_whose_connection_breaks(
    gateway: GatewayProcess, other_gateway: GatewayProcess
) -> None:
    async with HttpClient(f"{other_gateway.http_url}?agent=alice") as client:
        await client.initialize(NEWEST, EVERYTHING)
        async with (
            client.twin(f"{gateway.http_url}?agent=alice") as frail,
            frail.post_stream(call_of("play", 1, steps=[["ask", {"it": "form"}]])) as response,
        ):
            last = (await anext(events(response))).id
        async with asyncio.timeout(10), client.get(last) as response:
            stream = messages(response)
            asked = await anext(stream)
            answer = {"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}}
            assert (await client.post(answer)).status_code == 202
            done = await anext(stream)
            assert done["result"]["structuredContent"]["answers"] == {"it": {"action": "decline"}}


@pytest.mark.parametrize("kind", [("websocket", NEWEST), ("http", NEWEST)], ids="-".join)
async def test_a_call_that_is_cancelled_while_the_client_is_asked_ends(
    gateway: GatewayProcess, other_gateway: GatewayProcess, kind: tuple[str, str]
) -> None:
    asked, free = asyncio.Event(), asyncio.Event()

    async def slow(request: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        await free.wait()
        return {"action": "accept", "content": {"name": "late"}}

    async with speaking(kind, gateway, other_gateway, person=slow) as speaker:
        mark = secrets.token_hex(4)
        steps = [["ask", {"it": "form"}], ["write", f"went on {mark}"]]
        params = {"name": "play", "arguments": {"steps": steps}}
        calling = asyncio.create_task(speaker.request("tools/call", params, id="doomed"))
        async with asyncio.timeout(10):
            await asked.wait()
            await speaker.cancel("doomed")
            free.set()
            if isinstance(speaker, WebSocketSpeaker):
                # There it has no answer at all. What is said after it shows that it is over.
                assert (await speaker.request("ping")).result == {}
                assert not calling.done()
                calling.cancel()
                await asyncio.gather(calling, return_exceptions=True)
            else:
                # A POST has to end, and says how.
                assert (await calling).result["isError"] is True
            # The late answer changes nothing.
            log = (await speaker.call("read_log")).result["structuredContent"]["entries"]
            assert f"went on {mark}" not in log


async def test_a_client_that_does_not_answer_in_time_is_told_and_the_call_fails(
    backend: Backend, plugin: ServiceProcess
) -> None:
    own = GatewayProcess(backend, {"REQUIRED_SERVICES": "fixture", "CLIENT_ANSWER_S": "1"})
    await asyncio.to_thread(own.start().wait)
    try:
        async with RawClient.connect(own.ws_url, "alice") as client:
            await client.initialize(NEWEST, EVERYTHING)
            failed = await asyncio.wait_for(client.call_raw("play", {"steps": [["ask", {"it": "form"}]]}), 20)
            assert failed["isError"] is True
            assert "did not answer within 1 s" in failed["content"][0]["text"]
            asked, told = client.requests.get_nowait(), client.notifications.get_nowait()
            assert (told["method"], told["params"]["requestId"]) == ("notifications/cancelled", asked["id"])
            # Its late answer is ignored, and the connection lives on.
            await client.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "cancel"}})
            assert (await client.call("echo", text="x"))["text"] == "x"
        async with HttpClient(f"{own.http_url}?agent=alice") as http:
            await http.initialize(NEWEST, EVERYTHING)
            steps = [["ask", {"it": "form", "other": "llm"}]]
            async with asyncio.timeout(20), http.post_stream(call_of("play", 1, steps=steps)) as response:
                stream = messages(response)
                questions = {(await anext(stream))["id"], (await anext(stream))["id"]}
                withdrawn = [await anext(stream), await anext(stream)]
                assert {each["params"]["requestId"] for each in withdrawn} == questions
                assert (await anext(stream))["result"]["isError"] is True
    finally:
        assert own.stop() == 0


async def test_a_request_state_is_good_for_its_agent_and_its_request_alone(
    gateway: GatewayProcess, other_gateway: GatewayProcess
) -> None:
    arguments = {"steps": [["ask", {"it": "form"}]]}

    async def retried(agent: str, tool: str, given: dict[str, Any], state: str) -> dict[str, Any]:
        async with HttpClient(f"{other_gateway.http_url}?agent={agent}") as client:
            answered = {"inputResponses": {"it": {"action": "accept"}}, "requestState": state}
            message = client.stateless(
                "tools/call", {"name": tool, "arguments": given, **answered}, capabilities=EVERYTHING
            )
            body: dict[str, Any] = (await client.ask(message)).json()
            return body

    async with HttpClient(f"{gateway.http_url}?agent=alice") as client:
        message = client.stateless("tools/call", {"name": "play", "arguments": arguments}, capabilities=EVERYTHING)
        state = (await client.ask(message)).json()["result"]["requestState"]
    for agent, tool, given, text in (
        ("mallory", "play", arguments, state),
        ("alice", "play", {"steps": [["ask", {"it": "llm"}]]}, state),
        ("alice", "echo", {"text": "x"}, state),
        ("alice", "play", arguments, state[:-3] + "xyz"),
        ("alice", "play", arguments, "junk"),
    ):
        refused = await retried(agent, tool, given, text)
        assert refused["error"]["code"] == -32602
        assert "requestState" in refused["error"]["message"]
    assert (await retried("alice", "play", arguments, state))["result"]["resultType"] == "complete"


async def test_a_request_state_of_another_tenant_is_refused(locked_gateway: GatewayProcess) -> None:
    arguments = {"steps": [["ask", {"it": "roots"}]]}

    async def called(tenant: str, **more: Any) -> dict[str, Any]:
        # The same person and agent, by name, in both.
        headers = {"authorization": f"Bearer {token(sub='alice', tenant=tenant)}"}
        async with HttpClient(locked_gateway.http_url, headers=headers) as client:
            params = {"name": "play", "arguments": arguments, **more}
            answer = await client.ask(client.stateless("tools/call", params, capabilities=EVERYTHING))
            body: dict[str, Any] = answer.json()
            return body

    state = (await called("acme"))["result"]["requestState"]
    answered = {"inputResponses": {"it": {"roots": []}}, "requestState": state}
    assert "requestState" in (await called("other", **answered))["error"]["message"]
    assert (await called("acme", **answered))["result"]["resultType"] == "complete"
