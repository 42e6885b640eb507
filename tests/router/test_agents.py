"""Who is in the network, who may do what, and what wrong calls are told."""

import asyncio
import functools
from typing import Any

import pytest

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import encode_json
from tests.conftest import envelope
from tests.router.conftest import Network, ToolError, refused, structured


async def test_registering_tells_who_else_is_there(net: Network) -> None:
    await net.register("bob", "data analysis", description="Bob counts", model="m", languages=["ko"])
    joined = await net.register("alice", "번역", accept_from=["bob"])
    assert joined["others"] == [{"agent": "bob", "capabilities": ["data analysis"], "online": True}]
    assert joined["profile"]["capabilities"] == ["번역"]
    assert joined["profile"]["accept_from"] == ["bob"]
    assert joined["profile"]["max_concurrency"] == 4
    assert joined["waiting"] == 0


async def test_registering_again_replaces_the_profile(net: Network) -> None:
    await net.register("bob", "analysis", model="m")
    await net.register("bob", "cooking")
    (listed,) = (await net.tool("alice", "list_agents"))["agents"]
    assert listed["capabilities"] == ["cooking"]
    assert "model" not in listed
    routed = await net.route("alice", target_capabilities=["analysis"])
    assert routed["status"] == "unroutable"


async def test_agents_are_listed_best_first_with_the_reason(net: Network) -> None:
    await net.register("aaron", "cooking")
    await net.register("bob", "data analysis")
    await net.register("carol", "Data_Analysis", "statistics")
    await net.route("alice", agent="bob")
    listed = await net.tool("alice", "list_agents", capabilities=["data-analysis"])
    assert [agent["agent"] for agent in listed["agents"]] == ["carol", "bob", "aaron"]
    assert listed["agents"][0]["match"]["parts"]["capability"] == 1
    assert listed["agents"][1]["load"] == 1
    found = await net.tool("alice", "list_agents", query="who can do the cooking for us?", limit=1)
    assert [agent["agent"] for agent in found["agents"]] == ["aaron"]
    assert found["total"] == 3
    assert "match" not in (await net.tool("alice", "list_agents"))["agents"][0]


async def test_a_message_without_capabilities_finds_who_does_what_it_speaks_of(net: Network) -> None:
    await net.register("bob", "데이터 분석", description="표와 통계")
    await net.register("carol", "cooking", description="Recipes and menus")
    assert (await net.route("alice", "복잡한 데이터 분석이 필요합니다"))["agent"] == "bob"
    assert (await net.route("alice", "a recipe with a menu for three days"))["agent"] == "carol"
    nobody = await net.route("alice", "qqq zzz")
    assert nobody["status"] == "unroutable"
    assert "task_id" not in nobody
    assert {one["agent"] for one in nobody["nearest"]} == {"bob", "carol"}
    assert nobody["nearest"][0]["capabilities"]
    await net.register("dave", "general")
    assert (await net.route("alice", "qqq zzz"))["agent"] == "dave"


async def test_wanted_capabilities_exclude_agents_that_have_none_of_them(net: Network) -> None:
    await net.register("bob", "cooking")
    nobody = await net.route("alice", "cooking", target_capabilities=["analysis"])
    assert nobody["status"] == "unroutable"
    assert "analysis" in nobody["why"]["reason"]
    await net.register("carol", "analysis")
    await net.register("dave", "analysis", "reasoning")
    assert (await net.route("alice", target_capabilities=["analysis", "reasoning"]))["agent"] == "dave"


async def test_alone_in_the_network_nothing_can_be_routed(net: Network) -> None:
    await net.register("alice", "analysis")
    nobody = await net.route("alice", target_capabilities=["analysis"])
    assert nobody["status"] == "unroutable"
    assert "no other agent" in nobody["why"]["reason"]


async def test_work_spreads_over_equal_agents(net: Network) -> None:
    for agent in ("bob", "carol", "dave"):
        await net.register(agent, "analysis")
    got = [(await net.route("alice", target_capabilities=["analysis"]))["agent"] for _ in range(6)]
    assert sorted(got) == ["bob", "bob", "carol", "carol", "dave", "dave"]


async def test_an_unknown_agent_is_answered_with_who_is_there(net: Network) -> None:
    await net.register("bob", "analysis")
    for name in ("bobby", "Bob Smith!", "*"):
        error = await refused(net.route("alice", agent=name))
        assert error.code == "not_found"
        assert name.lower() in error.message
        assert "bob (analysis; online)" in error.message


async def test_nobody_routes_to_themselves(net: Network) -> None:
    await net.register("alice", "analysis")
    error = await refused(net.route("alice", agent="alice"))
    assert error.code == "invalid_argument"
    assert "is you" in error.message


async def test_an_agent_gets_work_from_those_it_accepts_only(net: Network) -> None:
    await net.register("bob", "analysis", accept_from=["carol"])
    error = await refused(net.route("alice", agent="bob"))
    assert error.code == "forbidden"
    assert "carol" not in error.message
    assert (await net.route("alice", target_capabilities=["analysis"]))["status"] == "unroutable"
    assert (await net.route("carol", target_capabilities=["analysis"]))["agent"] == "bob"


async def test_a_third_agent_and_another_tenant_see_no_task(net: Network, bus: Bus) -> None:
    task = await net.handed_over("alice", "bob")
    elsewhere = Network(bus, f"{net.tenant}-x")
    await net.register("carol", "work")
    missing = (await refused(net.get("carol", "t-none"))).message
    for other, agent in ((net, "carol"), (elsewhere, "alice"), (elsewhere, "bob"), (elsewhere, "orchestrator")):
        for name, more in (
            ("get_task", {}),
            ("cancel_task", {}),
            ("answer_task", {"answer": "x"}),
            ("update_task", {"attempt": 1}),
            ("submit_result", {"attempt": 1, "status": "completed", "result": "x"}),
        ):
            error = await refused(other.tool(agent, name, task_id=task["task_id"], **more))
            assert error.code == "not_found"
            assert error.message == missing.replace("t-none", task["task_id"])
        for method in ("resource_read", "resource_watch"):
            error = await refused(other.method(agent, method, uri=f"aicp://tasks/{task['task_id']}"))
            assert error.code == "not_found"
    assert (await elsewhere.tool("alice", "list_agents"))["agents"] == []
    assert (await refused(elsewhere.route("alice", agent="carol"))).code == "not_found"
    assert (await net.get("bob", task["task_id"]))["state"] == "working"


async def test_an_agent_is_found_by_its_name_in_any_case(net: Network) -> None:
    joined = await net.register("bob", "analysis", accept_from=["Alice"])
    assert joined["profile"]["accept_from"] == ["alice"]
    assert (await net.route("alice", agent="Bob "))["agent"] == "bob"
    made = await net.method(
        "alice", "create_task", message="x", target_capabilities=["analysis"], exclude_agents=["BOB"]
    )
    assert "task_id" not in made
    assert (await net.method("alice", "create_task", message="x", agent="BOB"))["agent"] == "bob"


@pytest.mark.parametrize(
    ("tool", "arguments", "scope"),
    [
        ("register_agent", {"capabilities": ["x"], "description": "x"}, "agents:write"),
        ("leave_network", {}, "agents:write"),
        ("list_agents", {}, "agents:read"),
        ("route_to_agent", {"message": "x"}, "tasks:request"),
        ("answer_task", {"task_id": "t", "answer": 1}, "tasks:request"),
        ("cancel_task", {"task_id": "t"}, "tasks:request"),
        ("receive_tasks", {}, "tasks:work"),
        ("update_task", {"task_id": "t", "attempt": 1}, "tasks:work"),
        ("submit_result", {"task_id": "t", "attempt": 1, "status": "failed"}, "tasks:work"),
        ("get_task", {"task_id": "t"}, "tasks:read"),
    ],
)
async def test_each_tool_needs_its_scope(net: Network, tool: str, arguments: dict[str, Any], scope: str) -> None:
    async def call(*scopes: str) -> Any:
        return structured((await net.raw("alice", tool, arguments, scopes=scopes)).body)

    others = {"agents:read", "agents:write", "tasks:request", "tasks:work", "tasks:read"} - {scope}
    error = await refused(call(*others))
    assert error.code == "forbidden"
    assert scope in error.message
    try:
        await call(scope)
    except Exception as error:
        assert "forbidden" not in str(error)  # noqa: PT017 - any other answer is fine here


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("register_agent", {"description": "x"}, "capabilities"),
        ("register_agent", {"capabilities": [], "description": "x"}, "capabilities"),
        ("register_agent", {"capabilities": ["x"] * 33, "description": "x"}, "capabilities"),
        ("register_agent", {"capabilities": ["x" * 65], "description": "x"}, "capabilities.0"),
        ("register_agent", {"capabilities": ["  "], "description": "x"}, "capabilities.0"),
        ("register_agent", {"capabilities": "analysis", "description": "x"}, "capabilities"),
        ("register_agent", {"capabilities": ["x"]}, "description"),
        ("register_agent", {"capabilities": ["x"], "description": "x", "max_concurrency": 0}, "max_concurrency"),
        ("register_agent", {"capabilities": ["x"], "description": "x", "max_concurrency": True}, "max_concurrency"),
        ("register_agent", {"capabilities": ["x"], "description": "x", "accept_from": ["B B"]}, "accept_from.0"),
        ("register_agent", {"capabilities": ["x"], "description": "x", "auto": "sampling"}, "auto"),
        ("leave_network", {"agent": "bob"}, "agent"),
        ("list_agents", {"limit": 0}, "limit"),
        ("list_agents", {"online_only": "yes"}, "online_only"),
        ("route_to_agent", {}, "message"),
        ("route_to_agent", {"message": ""}, "message"),
        ("route_to_agent", {"message": " \n"}, "message"),
        ("route_to_agent", {"message": 5}, "message"),
        ("route_to_agent", {"message": "가" * 22_000}, "message"),
        ("route_to_agent", {"message": "x", "priority": "urgent"}, "priority"),
        ("route_to_agent", {"message": "x", "deadline_s": 0.5}, "deadline_s"),
        ("route_to_agent", {"message": "x", "deadline_s": 604_801}, "deadline_s"),
        ("route_to_agent", {"message": "x", "wait_s": 41}, "wait_s"),
        ("route_to_agent", {"message": "x", "wait_s": -1}, "wait_s"),
        ("route_to_agent", {"message": "x", "context": 5}, "context"),
        ("route_to_agent", {"message": "x", "context": ["k"] * 21, "agent": "bob"}, "context"),
        ("route_to_agent", {"message": "x", "context": "two words"}, "context"),
        ("route_to_agent", {"message": "x", "context": ""}, "context"),
        ("route_to_agent", {"message": "x", "context": "a/../b"}, "context"),
        ("route_to_agent", {"message": "x", "context": "k" * 257}, "context"),
        ("route_to_agent", {"message": "x", "context": ["good", "a//b"]}, "context"),
        ("route_to_agent", {"message": "x", "context": "aicp://context/plan"}, "context"),
        ("route_to_agent", {"message": "x", "context": '["plan"]'}, "context"),
        ("route_to_agent", {"message": "x", "agent": " "}, "agent"),
        ("route_to_agent", {"message": "x", "context": {"k": "x" * 70_000}}, "context"),
        ("route_to_agent", {"message": "x", "target_capabilities": "analysis"}, "target_capabilities"),
        ("route_to_agent", {"message": "x", "idempotency_key": ""}, "idempotency_key"),
        ("route_to_agent", {"message": "x", "to": "bob"}, "to"),
        ("receive_tasks", {"max": 21}, "max"),
        ("receive_tasks", {"wait_s": "5"}, "wait_s"),
        ("update_task", {"task_id": "t", "attempt": 0}, "attempt"),
        ("update_task", {"task_id": "t", "attempt": 1, "progress": 1.1}, "progress"),
        ("update_task", {"attempt": 1}, "task_id"),
        ("submit_result", {"task_id": "t", "attempt": 1, "status": "completed"}, "result"),
        ("submit_result", {"task_id": "t", "attempt": 1, "status": "done", "result": 1}, "status"),
        ("submit_result", {"task_id": "t", "attempt": 1, "status": "completed", "result": "x" * 262_200}, "result"),
        ("get_task", {"task_id": "T 1"}, "task_id"),
        ("get_task", {"task_id": "../t"}, "task_id"),
        ("answer_task", {"task_id": "t"}, "answer"),
        ("cancel_task", {"task_id": "t", "reason": "x" * 1001}, "reason"),
    ],
)
async def test_wrong_arguments_are_named(net: Network, tool: str, arguments: dict[str, Any], field: str) -> None:
    error = await refused(net.tool("alice", tool, **arguments))
    assert error.code in ("invalid_argument", "too_large")
    assert error.message.startswith(f"{field}:") or error.message.startswith(f"{field}.")


async def test_an_object_that_was_sent_as_text_is_refused_with_what_to_send(net: Network) -> None:
    await net.register("bob", "work")
    error = await refused(net.route("alice", agent="bob", context='{"a": 1}'))
    assert error.code == "invalid_argument"
    assert "send the object itself, not as text" in error.message


@pytest.mark.parametrize("opening", ["[", '{"a":'])
async def test_a_context_of_brackets_alone_is_refused_as_no_key(net: Network, opening: str) -> None:
    await net.register("bob", "work")
    error = await refused(net.route("alice", agent="bob", context=opening * 10_000))
    assert error.code == "invalid_argument"
    assert "is no key of the shared context" in error.message


def nested(levels: int) -> Any:
    """So many lists within each other."""
    innermost: list[Any] = []
    return functools.reduce(lambda inner, _: [inner], range(levels - 1), innermost)


async def test_a_result_has_no_more_levels_than_those_who_get_it_can_read(net: Network) -> None:
    await net.register("bob", "work")
    routed = await net.route("alice", agent="bob")
    [task] = (await net.tool("bob", "receive_tasks", wait_s=5))["tasks"]
    mine = {"task_id": task["task_id"], "attempt": task["attempt"], "status": "completed"}
    error = await refused(net.tool("bob", "submit_result", **mine, result=nested(101)))
    assert error.code == "too_large"
    assert error.message.startswith("result: has lists and objects within each other on more than 100 levels")
    await net.tool("bob", "submit_result", **mine, result=nested(100))
    assert (await net.tool("alice", "get_task", task_id=routed["task_id"]))["result"] == nested(100)


async def test_a_broad_result_is_not_mistaken_for_a_deep_one(net: Network) -> None:
    await net.register("bob", "work")
    routed = await net.route("alice", agent="bob")
    [task] = (await net.tool("bob", "receive_tasks", wait_s=5))["tasks"]
    broad = [[{"row": row}] for row in range(500)]
    mine = {"task_id": task["task_id"], "attempt": task["attempt"], "status": "completed"}
    await net.tool("bob", "submit_result", **mine, result=broad)
    assert (await net.tool("alice", "get_task", task_id=routed["task_id"]))["result"] == broad


async def test_the_list_says_who_takes_no_work_from_its_reader(net: Network) -> None:
    await net.register("bob", "work", accept_from=["carol"])
    await net.register("carol", "work")
    listed = (await net.tool("alice", "list_agents"))["agents"]
    assert {agent["agent"]: agent.get("accepts_you", True) for agent in listed} == {"bob": False, "carol": True}
    listed = (await net.tool("bob", "list_agents"))["agents"]
    assert all("accepts_you" not in agent for agent in listed), "not to oneself"


@pytest.mark.parametrize("name", ["a", "plan", "project/plan", "a.b_c~d:e@f-g/..h/...", "k" * 256])
async def test_what_the_state_hub_takes_as_a_key_the_router_does(net: Network, name: str) -> None:
    await net.register("bob", "work")
    body = encode_json({"context_key": name, "context_value": 1})
    structured((await net.bus.call("statehub", "share_context", envelope(net.tenant, "alice"), body)).body)
    routed = await net.route("alice", agent="bob", context=name)
    assert "missing_context" not in routed
    assert (await net.claim("bob"))["shared_context"][name]["value"] == 1


async def test_texts_of_every_kind_survive_the_way(net: Network) -> None:
    text = "\x00 \u2028 \U0001f600 \\ \" ' {}:;,\r\n" + "가" * 1000
    task = await net.handed_over("alice", "bob", context={text: [text, 1e300, -0.0, [], {}]})
    assert task["context"] == {text: [text, 1e300, -0.0, [], {}]}
    await net.submit("bob", task, {text: text})
    assert (await net.get("alice", task["task_id"]))["result"] == {text: text}


async def test_the_largest_message_and_result_fit(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    await net.submit("bob", task, '"' * 100_000)
    assert (await net.get("alice", task["task_id"]))["result"] == '"' * 100_000
    await net.route("alice", "x" * 65_536, agent="bob")
    assert len((await net.claim("bob"))["message"]) == 65_536


async def test_the_inbox_shows_what_waits_without_taking_it(net: Network) -> None:
    await net.register("bob", "work")
    await net.route("alice", "first " + "x" * 500, agent="bob")
    await net.route("alice", "second", agent="bob")
    inbox = await net.read("bob", "aicp://inbox")
    assert (inbox["agent"], inbox["waiting"]) == ("bob", 2)
    assert inbox["tasks"][0]["requester"] == "alice"
    assert len(inbox["tasks"][0]["message"]) == 200
    assert (await net.claim("bob"))["attempt"] == 1
    assert (await net.read("carol", "aicp://inbox"))["waiting"] == 0


async def test_resources_are_read_and_watched(net: Network) -> None:
    task = await net.handed_over("alice", "bob")
    agents = await net.read("alice", "aicp://agents")
    assert [agent["agent"] for agent in agents["agents"]] == ["bob"]
    uri = f"aicp://tasks/{task['task_id']}"
    assert (await net.read("alice", uri))["state"] == "working"
    watched = {
        "aicp://agents": subjects.event(net.tenant, "agent", "*", "*"),
        "aicp://inbox": subjects.agent(net.tenant, "alice"),
        uri: subjects.event(net.tenant, "task", task["task_id"], "*"),
    }
    for one, subject in watched.items():
        assert await net.method("alice", "resource_watch", uri=one) == {"subject": subject}
    assert "cannot be watched" in (await refused(net.method("alice", "resource_watch", uri="aicp://tasks"))).message
    for wrong in ("aicp://nothing", "aicp://tasks/", "aicp://tasks/*", "aicp://tasks/t.>"):
        assert (await refused(net.method("alice", "resource_watch", uri=wrong))).code == "not_found"
        assert (await refused(net.method("alice", "resource_read", uri=wrong))).code == "not_found"


async def test_what_a_gateway_says_of_presence_counts(net: Network) -> None:
    await net.register("bob", "analysis")
    await net.tool("alice", "list_agents")
    pairs = [[net.tenant, "carol"], ["not a tenant", "x"], [net.tenant, "no agent!"]]
    await net.bus.publish(subjects.PRESENCE, encode_json({"gateway": "g", "agents": pairs}))
    status = ""
    async with asyncio.timeout(5):
        while not status:
            try:
                status = (await net.route("alice", agent="carol"))["status"]
            except ToolError:
                await asyncio.sleep(0.02)
    assert status == "routed"
