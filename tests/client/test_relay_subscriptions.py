"""The handshake era: subscriptions are made again on a new connection."""

from tests.client.between import Between, methods


def test_subscriptions_are_made_again_and_a_change_may_have_been_missed(shaken: Between) -> None:
    for number, uri in enumerate(("a:1", "a:2", "a:3")):
        shaken.ask(number, "resources/subscribe", uri=uri)
        shaken.answer(shaken.came_one())
    shaken.ask(9, "resources/unsubscribe", uri="a:2")
    shaken.answer(shaken.came_one())
    shaken.heard()
    shaken.lose()
    again = shaken.resume()
    assert [(frame["method"], frame["params"]["uri"]) for frame in again] == [
        ("resources/subscribe", "a:1"),
        ("resources/subscribe", "a:3"),
    ]
    assert shaken.heard() == []
    for frame in again:
        shaken.answer(frame)
    told = shaken.heard()
    assert methods(told) == ["notifications/resources/updated"] * 2
    assert [message["params"] for message in told] == [{"uri": "a:1"}, {"uri": "a:3"}]


def test_a_refused_subscription_is_not_made_again(shaken: Between) -> None:
    shaken.ask(1, "resources/subscribe", uri="a:1")
    shaken.refuse(shaken.came_one())
    shaken.lose()
    assert shaken.resume() == []


def test_many_subscriptions_are_made_again_a_few_at_a_time(shaken: Between) -> None:
    for number in range(50):
        shaken.ask(number, "resources/subscribe", uri=f"a:{number}")
        shaken.answer(shaken.came_one())
    shaken.heard()
    shaken.lose()
    shaken.ask("x", "ping")
    asked = shaken.resume()
    seen = []
    while asked:
        assert sum(frame["method"] == "resources/subscribe" for frame in asked) <= 16
        for frame in asked:
            seen.append(frame["params"].get("uri"))
            shaken.answer(frame)
        asked = shaken.came()
    assert sorted(filter(None, seen)) == sorted(f"a:{number}" for number in range(50))
    assert len(shaken.heard()) == 51


def test_a_subscription_that_a_starting_hub_does_not_know_yet_is_tried_again(shaken: Between) -> None:
    shaken.ask(1, "resources/subscribe", uri="a:1")
    shaken.answer(shaken.came_one())
    shaken.heard()
    shaken.lose()
    (again,) = shaken.resume()
    shaken.refuse(again)
    assert shaken.came() == []
    shaken.wait(0.5)
    shaken.refuse(shaken.came_one())
    shaken.wait(1)
    shaken.answer(shaken.came_one())
    assert shaken.heard()[0]["params"] == {"uri": "a:1"}


def test_a_subscription_that_the_hub_goes_on_refusing_is_over_and_the_client_learns_of_it(shaken: Between) -> None:
    shaken.ask(1, "resources/subscribe", uri="a:1")
    shaken.answer(shaken.came_one())
    shaken.heard()
    shaken.lose()
    (again,) = shaken.resume()
    shaken.refuse(again)
    for _ in range(6):
        shaken.wait(16)
        shaken.refuse(shaken.came_one())
    assert shaken.heard()[0]["params"] == {"uri": "a:1"}
    shaken.wait(100)
    assert shaken.came() == []
    shaken.lose()
    assert shaken.resume() == []
