"""The handshake era: what was agreed on is brought back on a new connection."""

from tests.client.between import REVISION, Between, methods


def test_the_handshake_is_replayed_and_the_client_does_not_notice(shaken: Between) -> None:
    shaken.lose()
    shaken.call(1, "act")
    shaken.open()
    again = shaken.came_one()
    assert again["method"] == "initialize"
    assert again["params"]["clientInfo"]["name"] == "test"
    assert str(again["id"]).startswith("aicp-connect-")
    shaken.answer(again, {"protocolVersion": REVISION, "capabilities": {}})
    assert methods(shaken.came()) == ["notifications/initialized", "tools/call"]
    assert shaken.heard() == []


def test_the_replay_asks_for_the_revision_that_the_client_was_told(both: Between) -> None:
    both.open()
    both.ask(1, "initialize", protocolVersion="2099-01-01", capabilities={"roots": {}})
    both.answer(both.came_one(), {"protocolVersion": "2025-06-18"})
    both.lose()
    both.open()
    assert both.came_one()["params"] == {"protocolVersion": "2025-06-18", "capabilities": {"roots": {}}}


def test_a_hub_that_speaks_another_revision_now_ends_the_conversation(shaken: Between) -> None:
    shaken.lose()
    shaken.open()
    shaken.answer(shaken.came_one(), {"protocolVersion": "2024-11-05"})
    assert shaken.relay.failure is not None
    assert "2024-11-05" in shaken.relay.failure


def test_a_hub_that_refuses_the_replay_ends_the_conversation(shaken: Between) -> None:
    shaken.lose()
    shaken.open()
    shaken.refuse(shaken.came_one())
    assert "no such thing" in str(shaken.relay.failure)


def test_an_initialize_that_was_not_answered_is_the_clients_own_again(both: Between) -> None:
    both.open()
    both.ask(1, "initialize", protocolVersion=REVISION)
    both.came()
    both.lose()
    both.open()
    again = both.came_one()
    assert again["id"] == 1
    both.answer(again, {"protocolVersion": REVISION})
    assert both.heard()[0]["id"] == 1


def test_an_initialize_that_was_refused_is_not_replayed(both: Between) -> None:
    both.open()
    both.ask(1, "initialize")
    both.refuse(both.came_one())
    both.lose()
    both.open()
    assert both.came() == []


def test_initialized_follows_only_when_the_client_has_said_it(both: Between) -> None:
    both.open()
    both.ask(1, "initialize", protocolVersion=REVISION)
    both.answer(both.came_one(), {"protocolVersion": REVISION})
    both.lose()
    both.open()
    both.answer(both.came_one(), {"protocolVersion": REVISION})
    assert both.came() == []
    both.note("notifications/initialized")
    assert both.came_one()["method"] == "notifications/initialized"


def test_a_client_that_says_all_at_once_is_understood_over_a_break(both: Between) -> None:
    both.ask(1, "initialize", protocolVersion=REVISION)
    both.note("notifications/initialized")
    both.ask(2, "tools/list")
    both.open()
    assert methods(both.came()) == ["initialize", "tools/list"]
    both.lose()
    both.open()
    first, _ = both.came()
    both.answer(first, {"protocolVersion": REVISION})
    assert both.came_one()["method"] == "notifications/initialized"


def test_the_log_level_is_set_again(shaken: Between) -> None:
    shaken.ask(1, "logging/setLevel", level="debug")
    shaken.answer(shaken.came_one())
    shaken.lose()
    (level,) = shaken.resume()
    assert (level["method"], level["params"]) == ("logging/setLevel", {"level": "debug"})
    shaken.heard()
    shaken.answer(level)
    assert shaken.heard() == []


def test_lists_that_may_have_changed_are_to_be_looked_at_again(both: Between) -> None:
    both.initialize(tools={"listChanged": True}, prompts={}, resources={"listChanged": True, "subscribe": True})
    both.lose()
    both.resume()
    assert methods(both.heard()) == ["notifications/tools/list_changed", "notifications/resources/list_changed"]


def test_nothing_is_sent_before_the_replayed_handshake_is_answered(shaken: Between) -> None:
    shaken.lose()
    shaken.open()
    shaken.came()
    shaken.ask(1, "ping")
    shaken.note("notifications/x")
    assert shaken.came() == []
    shaken.wait(45)
    assert shaken.heard()[0]["error"]["code"] == 503


def test_a_break_in_the_middle_of_the_replay_begins_it_anew(shaken: Between) -> None:
    shaken.ask(1, "resources/subscribe", uri="a:1")
    shaken.answer(shaken.came_one())
    shaken.heard()
    for _ in range(3):
        shaken.lose()
        shaken.open()
        assert shaken.came_one()["method"] == "initialize"
    shaken.lose()
    assert methods(shaken.resume()) == ["resources/subscribe"]
    assert shaken.heard() == []
