"""Lists, page by page. Source: MCP 2025-11-25 and 2026-07-28, server/utilities/pagination."""

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicp_common.announcement import Announcement
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.protocol.cursors import decode_cursor, encode_cursor
from aicp_gateway.protocol.revisions import SUPPORTED
from tests.gateway.engine import announced
from tests.gateway.engine.peer import Peer

LISTS = [
    ("tools/list", "tools", "name"),
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    ("resources/templates/list", "resourceTemplates", "uriTemplate"),
]


def numbered(count: int, page_size: int) -> Catalogue:
    """A catalogue with so many of everything."""
    made = Catalogue(page_size=page_size)
    names = [f"n{number:03}" for number in range(count)]
    made.hear(
        Announcement(
            service="many",
            version="1",
            tools=tuple(announced.tool(name) for name in names),
            prompts=tuple(announced.prompt(name) for name in names),
            resources=tuple(announced.resource(f"many://{name}") for name in names),
            resource_templates=tuple(announced.resource(f"many://{name}/{{x}}") for name in names),
        ),
        now=0.0,
    )
    return made


def pages(peer: Peer, method: str, key: str) -> list[list[Any]]:
    """All pages of a list."""
    found = []
    params: dict[str, Any] = {}
    while True:
        result = peer.result(method, params)
        found.append(result[key])
        if "nextCursor" not in result:
            return found
        params = {"cursor": result["nextCursor"]}


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize(("method", "key", "name"), LISTS)
@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (3, [3]), (4, [3, 1]), (6, [3, 3]), (7, [3, 3, 1])])
def test_every_entry_stands_on_one_page(
    revision: str, method: str, key: str, name: str, count: int, sizes: list[int]
) -> None:
    found = pages(Peer(revision, catalogue=numbered(count, page_size=3)), method, key)
    assert [len(page) for page in found] == sizes
    names = [entry[name] for page in found for entry in page]
    assert (len(set(names)), names) == (count, sorted(names))


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize(("method", "key", "name"), LISTS)
def test_an_empty_hub_has_empty_lists(revision: str, method: str, key: str, name: str) -> None:
    assert Peer(revision, catalogue=Catalogue()).result(method)[key] == []


@pytest.mark.parametrize("revision", SUPPORTED)
def test_what_is_out_of_scope_takes_no_place_on_a_page(revision: str) -> None:
    found = pages(Peer(revision, catalogue=announced.catalogue(page_size=2)), "tools/list", "tools")
    assert [[tool["name"] for tool in page] for page in found] == [
        ["echo", "form"],
        ["link", "mirror"],
        ["think", "think_with_tools"],
    ]


@pytest.mark.parametrize("cursor", [None])
def test_no_cursor_is_the_first_page(cursor: None) -> None:
    peer = Peer("2025-11-25", catalogue=numbered(4, page_size=3))
    assert peer.result("tools/list", {"cursor": cursor}) == peer.result("tools/list")


def test_a_page_is_the_same_each_time_it_is_asked_for() -> None:
    peer = Peer("2025-11-25", catalogue=numbered(7, page_size=3))
    cursor = peer.result("tools/list")["nextCursor"]
    assert peer.result("tools/list", {"cursor": cursor}) == peer.result("tools/list", {"cursor": cursor})
    assert peer.result("tools/list")["nextCursor"] == cursor


def names_after(catalogue: Catalogue, cursor: str) -> list[str]:
    """The tools on the page after a cursor."""
    peer = Peer("2025-11-25", catalogue=catalogue)
    return [tool["name"] for tool in peer.result("tools/list", {"cursor": cursor})["tools"]]


def test_a_list_that_changes_between_pages_goes_on_where_the_page_before_ended() -> None:
    catalogue = numbered(6, page_size=3)
    cursor = Peer("2025-11-25", catalogue=catalogue).result("tools/list")["nextCursor"]
    others = ("n000", "n001", "n003", "n003x", "n005")
    changed = Announcement(service="many", version="2", tools=tuple(announced.tool(name) for name in others))
    catalogue.hear(changed, now=1.0)
    assert names_after(catalogue, cursor) == ["n003", "n003x", "n005"]
    catalogue.hear(Announcement(service="many", version="3", tools=(announced.tool("a"),)), now=2.0)
    assert names_after(catalogue, cursor) == []


def test_a_cursor_serves_a_client_that_sees_less() -> None:
    catalogue = announced.catalogue(page_size=4)
    everything = Peer("2025-11-25", scopes=("*",), catalogue=catalogue)
    cursor = everything.result("tools/list")["nextCursor"]
    assert decode_cursor("tools/list", cursor) == "link"
    assert names_after(catalogue, cursor) == ["mirror", "think", "think_with_tools"]


def foreign(text: str) -> str:
    """A cursor that holds this text."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("revision", SUPPORTED)
@pytest.mark.parametrize(("method", "key", "name"), LISTS)
@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "2",
        "====",
        "no cursor",
        "é",
        "\u0000",
        "x" * 100_000,
        foreign("n001"),
        foreign("other/list\0n001"),
        foreign("\0n001"),
        base64.urlsafe_b64encode(b"tools/list\0\xff").decode(),
        base64.urlsafe_b64encode(b"tools/list").decode(),
    ],
)
def test_a_cursor_that_was_not_given_out_is_refused(
    revision: str, method: str, key: str, name: str, cursor: str
) -> None:
    error = Peer(revision, catalogue=numbered(6, page_size=3)).error(method, {"cursor": cursor})
    assert error["code"] == -32602
    assert "cursor" in error["message"]


@pytest.mark.parametrize("revision", SUPPORTED)
def test_a_cursor_of_one_list_is_none_of_another(revision: str) -> None:
    peer = Peer(revision, catalogue=numbered(6, page_size=3))
    cursors = {method: peer.result(method)["nextCursor"] for method, _, _ in LISTS}
    for its_list, cursor in cursors.items():
        for method, _, _ in LISTS:
            answer = peer.answer(method, {"cursor": cursor})
            assert ("result" in answer) == (its_list == method)


@settings(deadline=None)
@given(st.sampled_from([method for method, _, _ in LISTS]), st.text())
def test_a_cursor_gives_back_what_it_was_made_of(method: str, last: str) -> None:
    cursor = encode_cursor(method, last)
    assert decode_cursor(method, cursor) == last
    assert cursor.isascii()
    assert cursor.isprintable()


@settings(deadline=None)
@given(st.text())
def test_no_text_whatever_is_a_cursor_by_accident(cursor: str) -> None:
    with pytest.raises(ValueError):
        decode_cursor("tools/list", cursor)
