"""What becomes of requests under way when the connection breaks: some are sent again, others must not be."""

from typing import Any

import pytest

from tests.client.between import Between


@pytest.mark.parametrize(
    "method",
    [
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "tasks/get",
        "subscriptions/listen",
    ],
)
def test_a_request_that_only_reads_is_sent_again_when_the_connection_broke(both: Between, method: str) -> None:
    both.open()
    both.ask(1, method, uri="x")
    first = both.came_one()
    both.lose()
    assert both.heard() == both.came() == []
    both.open()
    assert both.came_one() == first
    both.answer(first)
    assert both.heard()[0]["id"] == 1


@pytest.mark.parametrize("method", ["tools/call", "tasks/update", "tasks/cancel", "acme/unknown"])
def test_a_request_that_may_have_been_done_is_answered_and_not_sent_again(both: Between, method: str) -> None:
    both.open()
    both.ask(1, method, name="act")
    both.came()
    both.lose()
    (answer,) = both.heard()
    assert answer["id"] == 1
    assert answer["error"]["code"] == 503
    assert "may or may not have been done" in answer["error"]["message"]
    both.open()
    assert both.came() == []


def test_a_call_that_was_not_sent_yet_is_sent_after_the_reconnect(both: Between) -> None:
    both.open()
    both.call(1, "act")
    both.lose()
    assert both.heard() == []
    both.open()
    assert both.came_one()["id"] == 1


@pytest.mark.parametrize(
    ("tool", "again"), [("look", True), ("put", True), ("act", False), ("plain", False), ("new", False)]
)
def test_a_tool_that_says_so_is_called_again(both: Between, tool: str, again: bool) -> None:
    both.open()
    both.learn_tools()
    both.call(1, tool)
    both.came()
    both.lose()
    assert bool(both.heard()) is not again
    both.open()
    assert bool(both.came()) is again


def test_a_tool_that_no_longer_says_so_is_not_called_again(both: Between) -> None:
    both.open()
    both.learn_tools()
    both.ask(1, "tools/list")
    both.answer(both.came_one(), {"tools": [{"name": "look"}]})
    both.call(2, "look")
    both.came()
    both.heard()
    both.lose()
    assert "may or may not" in both.heard()[0]["error"]["message"]


@pytest.mark.parametrize(
    "listed", [{}, {"tools": None}, {"tools": [None, {}, {"name": 5}, {"name": "x", "annotations": 1}]}]
)
def test_a_list_of_tools_that_is_none_is_passed_on(both: Between, listed: dict[str, Any]) -> None:
    both.open()
    both.ask(1, "tools/list")
    both.answer(both.came_one(), listed)
    assert both.heard()[0]["result"] == listed


def test_what_is_sent_again_comes_before_what_waits_and_in_the_old_order(both: Between) -> None:
    both.open()
    for number in (1, 2, 3):
        both.ask(number, "ping")
    both.came()
    both.lose()
    both.ask(4, "ping")
    both.open()
    assert [frame["id"] for frame in both.came()] == [1, 2, 3, 4]


def test_a_request_over_which_the_hub_falls_each_time_is_given_up(both: Between) -> None:
    for _ in range(3):
        both.open()
        both.ask(1, "resources/read") if not both.relay.waiting else None
        assert both.came_one()["id"] == 1
        both.lose()
    assert "3 times" in both.heard()[0]["error"]["message"]
    both.open()
    assert both.came() == []


def test_a_request_waits_anew_from_the_moment_the_connection_broke(both: Between) -> None:
    both.open()
    both.ask(1, "resources/read", uri="x")
    both.came()
    both.wait(100)
    both.lose()
    both.wait(44)
    assert both.heard() == []
    both.wait(1)
    assert both.heard()[0]["error"]["code"] == 503
