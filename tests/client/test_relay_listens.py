"""The stateless era: open listens are taken up again on a new connection."""

from typing import Any

from tests.client.between import Between, methods

VERSION = "io.modelcontextprotocol/protocolVersion"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


def stateless(both: Between, id: int, method: str, **params: Any) -> None:
    both.ask(id, method, _meta={VERSION: "2026-07-28"}, **params)


def acknowledge(both: Between, id: int, **notifications: Any) -> None:
    both.inform("notifications/subscriptions/acknowledged", _meta={SUBSCRIPTION: id}, notifications=notifications)


def test_a_client_without_a_handshake_goes_on_without_one(both: Between) -> None:
    both.open()
    stateless(both, 1, "server/discover")
    both.answer(both.came_one(), {"supportedVersions": ["2026-07-28"]})
    both.lose()
    stateless(both, 2, "tools/list")
    both.open()
    assert both.came_one()["id"] == 2


def test_an_open_listen_is_sent_again_and_its_second_acknowledgement_swallowed(both: Between) -> None:
    both.open()
    stateless(
        both, 1, "subscriptions/listen", notifications={"toolsListChanged": True, "resourceSubscriptions": ["a:1"]}
    )
    first = both.came_one()
    acknowledge(both, 1, toolsListChanged=True, resourceSubscriptions=["a:1"])
    assert methods(both.heard()) == ["notifications/subscriptions/acknowledged"]
    for _ in range(5):  # more often than a request is sent that has shown no effect
        both.lose()
        both.wait(3600)
        both.open()
        assert both.came_one() == first
        assert both.heard() == []
        acknowledge(both, 1, toolsListChanged=True, resourceSubscriptions=["a:1"])
        told = both.heard()
        assert methods(told) == ["notifications/tools/list_changed", "notifications/resources/updated"]
        assert {message["params"]["_meta"][SUBSCRIPTION] for message in told} == {1}
        assert told[1]["params"]["uri"] == "a:1"


def test_a_listen_that_was_not_acknowledged_yet_is_acknowledged_once(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    both.came()
    both.lose()
    both.open()
    both.came()
    acknowledge(both, 1)
    assert methods(both.heard()) == ["notifications/subscriptions/acknowledged"]


def test_a_listen_that_the_client_has_cancelled_is_not_sent_again(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    both.came()
    acknowledge(both, 1)
    both.note("notifications/cancelled", requestId=1)
    assert methods(both.came()) == ["notifications/cancelled"]
    both.lose()
    both.open()
    assert both.came() == []


def test_a_listen_that_is_cancelled_while_the_hub_is_away_is_not_sent_again(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    both.came()
    acknowledge(both, 1)
    both.lose()
    both.note("notifications/cancelled", requestId=1)
    both.open()
    assert both.came() == []


def test_a_listen_that_the_hub_has_ended_is_not_sent_again(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    listen = both.came_one()
    acknowledge(both, 1)
    both.heard()
    both.inform("notifications/cancelled", requestId=1)
    both.answer(listen, {"resultType": "complete"})
    assert both.heard() == []
    both.wait(5)
    assert methods(both.heard()) == ["notifications/cancelled", ""]
    both.lose()
    both.open()
    assert both.came() == both.heard() == []


def test_the_id_of_a_listen_that_the_hub_has_ended_can_be_used_again(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    both.came()
    acknowledge(both, 1)
    both.heard()
    both.inform("notifications/cancelled", requestId=1)
    stateless(both, 1, "subscriptions/listen", notifications={})
    assert both.came_one()["id"] == 1
    assert methods(both.heard()) == ["notifications/cancelled"]
    acknowledge(both, 1)
    assert methods(both.heard()) == ["notifications/subscriptions/acknowledged"]


def test_a_listen_that_a_hub_ends_because_it_stops_is_taken_up_again(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={"promptsListChanged": True})
    listen = both.came_one()
    acknowledge(both, 1, promptsListChanged=True)
    both.heard()
    both.answer(listen, {"resultType": "complete"})
    both.wait(2)
    both.lose()
    both.wait(10)
    assert both.heard() == []
    both.open()
    assert both.came_one() == listen
    acknowledge(both, 1, promptsListChanged=True)
    assert methods(both.heard()) == ["notifications/prompts/list_changed"]


def test_a_listen_that_the_hub_refuses_the_second_time_is_over(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={})
    both.came()
    acknowledge(both, 1)
    both.heard()
    both.lose()
    both.open()
    both.refuse(both.came_one())
    assert both.heard()[0]["id"] == 1
    both.lose()
    both.open()
    assert both.came() == []


def test_several_listens_are_told_apart(both: Between) -> None:
    both.open()
    stateless(both, 1, "subscriptions/listen", notifications={"promptsListChanged": True})
    stateless(both, 2, "subscriptions/listen", notifications={"resourcesListChanged": True})
    both.came()
    acknowledge(both, 2, resourcesListChanged=True)
    both.heard()
    both.lose()
    both.open()
    assert [frame["id"] for frame in both.came()] == [1, 2]
    acknowledge(both, 1, promptsListChanged=True)
    acknowledge(both, 2, resourcesListChanged=True)
    told = both.heard()
    assert methods(told) == ["notifications/subscriptions/acknowledged", "notifications/resources/list_changed"]
