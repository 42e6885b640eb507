"""What is kept for a client that does not read, and what becomes of news then."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_gateway.notices import MAX_ALL_BYTES, MAX_ITEM_BYTES, MAX_ITEMS, Items, Notices

URI = "fixture://talks/a"


def item(number: int, text: str = "") -> Items:
    return Items(json.dumps({"number": number, "text": text}).encode(), 1)


def told(notices: Notices, uri: str = URI) -> list[list[int] | None]:
    """The numbers in each message of a resource; None for one that says only that it has changed."""
    found: list[list[int] | None] = []
    for message in notices.take()[0]:
        params: dict[str, Any] = json.loads(message)["params"]
        if params["uri"] == uri:
            news = params.get("_meta", {}).get("aicp/news")
            found.append(None if news is None else [each["number"] for each in news])
    return found


def test_items_that_wait_are_told_together_and_in_order() -> None:
    woken: list[Notices] = []
    notices = Notices(woken.append)
    for number in (1, 2, 3):
        notices.news(URI, item(number))
    assert woken == [notices]
    assert told(notices) == [[1, 2, 3]]
    assert told(notices) == []
    notices.news(URI, item(4))
    assert len(woken) == 2
    assert told(notices) == [[4]]


def test_more_items_than_are_kept_are_told_as_a_change() -> None:
    notices = Notices(lambda _: None)
    for number in range(1, MAX_ITEMS + 1):
        notices.news(URI, item(number))
    notices.news("fixture://talks/b", item(1))
    notices.news(URI, item(MAX_ITEMS + 1))
    # What comes before the client has taken that is read by it too.
    notices.news(URI, item(MAX_ITEMS + 2))
    assert told(notices) == [None]
    notices.news(URI, item(MAX_ITEMS + 3))
    assert told(notices) == [[MAX_ITEMS + 3]]


def test_more_bytes_than_are_kept_are_told_as_a_change() -> None:
    notices = Notices(lambda _: None)
    notices.news(URI, item(1, "x" * (MAX_ITEM_BYTES // 2)))
    notices.news(URI, item(2, "x" * (MAX_ITEM_BYTES // 2)))
    assert told(notices) == [None]
    notices.news(URI, item(3, "x" * MAX_ITEM_BYTES))
    assert told(notices) == [None]


def test_all_resources_together_keep_so_much_and_no_more() -> None:
    notices = Notices(lambda _: None)
    size = MAX_ITEM_BYTES - 100
    uris = [f"fixture://talks/{number}" for number in range(2 * MAX_ALL_BYTES // size)]
    for uri in uris:
        notices.news(uri, item(1, "x" * size))
    found = [json.loads(message)["params"] for message in notices.take()[0]]
    assert [params["uri"] for params in found] == uris
    with_news = [params for params in found if "_meta" in params]
    assert len(with_news) == MAX_ALL_BYTES // size
    # What was taken counts no more.
    for uri in uris[: len(with_news)]:
        notices.news(uri, item(2, "x" * size))
        notices.withdraw(uri)
        notices.news(uri, item(2, "x" * size))
    assert all("_meta" in json.loads(message)["params"] for message in notices.take()[0])


def test_a_change_without_items_outdoes_those_that_wait() -> None:
    notices = Notices(lambda _: None)
    notices.news(URI, item(1))
    notices.changed(URI)
    notices.news(URI, item(2))
    assert told(notices) == [None]


def test_what_is_withdrawn_is_not_told() -> None:
    notices = Notices(lambda _: None)
    notices.news(URI, item(1))
    notices.withdraw(URI)
    assert notices.take() == ([], [])


def test_nothing_is_told_before_the_release() -> None:
    woken: list[Notices] = []
    notices = Notices(woken.append, b'"s"')
    notices.hold()
    notices.news(URI, item(1))
    assert not woken
    notices.release()
    assert woken == [notices]
    assert told(notices) == [[1]]


@pytest.mark.parametrize("subscription", [None, b"7"])
def test_all_who_are_told_the_same_share_one_message(subscription: bytes | None) -> None:
    clients = [Notices(lambda _: None, subscription) for _ in range(3)]
    items = item(1)
    for client in clients:
        client.news(URI, items)
    messages = [client.take()[0][0] for client in clients]
    assert all(message is messages[0] for message in messages)
    meta = {"aicp/news": [{"number": 1, "text": ""}]}
    if subscription is not None:
        meta["io.modelcontextprotocol/subscriptionId"] = 7  # type: ignore[assignment]
    assert json.loads(messages[0])["params"] == {"uri": URI, "_meta": meta}


@given(st.lists(st.sampled_from(["news", "news", "news", "many", "changed", "take"]), max_size=60))
def test_items_come_once_in_order_and_none_is_missing_without_a_word(steps: list[str]) -> None:
    notices = Notices(lambda _: None)
    number, known = 0, 0

    def take() -> None:
        nonlocal known
        for message in told(notices):
            if message is None:
                # The client reads.
                known = number
                continue
            assert message == list(range(known + 1, number + 1))
            known = number

    for step in steps:
        if step == "take":
            take()
        elif step == "changed":
            notices.changed(URI)
        else:
            for _ in range(1 if step == "news" else MAX_ITEMS // 3):
                number += 1
                notices.news(URI, item(number))
    take()
    assert known == number
