"""The catalogue: what services announce together, as each client may see it."""

import logging
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicp_common.announcement import (
    ANNOUNCE_LIFETIME_S,
    AnnouncedPrompt,
    AnnouncedResource,
    AnnouncedTool,
    Announcement,
)
from aicp_common.envelope import Principal
from aicp_gateway.catalogue import Catalogue
from aicp_gateway.protocol.notifications import LISTS
from aicp_gateway.protocol.revisions import STATELESS
from tests.gateway.engine import announced
from tests.gateway.engine.announced import FIXTURE, OTHER, SCOPE, prompt, resource, tool
from tests.gateway.engine.peer import Peer

ANYBODY = Principal("default", "alice", "alice", ())
USER = Principal("default", "alice", "alice", (SCOPE,))


def heard(*announcements: Announcement) -> Catalogue:
    made = Catalogue()
    for announcement in announcements:
        made.hear(announcement, now=0.0)
    return made


def service(name: str, **fields: Any) -> Announcement:
    return Announcement(service=name, version="1", **fields)


def test_an_announcement_says_which_lists_it_changed() -> None:
    catalogue = Catalogue()
    assert catalogue.hear(FIXTURE, now=0.0) == {"tools", "prompts", "resources"}
    assert catalogue.hear(FIXTURE, now=1.0) == frozenset()
    assert catalogue.hear(OTHER, now=1.0) == {"prompts", "resources"}
    assert catalogue.hear(service("other", resource_templates=OTHER.resource_templates), now=2.0) == {"prompts"}
    assert catalogue.hear(service("other", instructions="new"), now=3.0) == {"resources"}
    assert catalogue.hear(service("other", instructions="newer"), now=4.0) == frozenset()


def test_a_service_that_is_silent_for_a_lifetime_leaves() -> None:
    catalogue = Catalogue()
    catalogue.hear(FIXTURE, now=0.0)
    catalogue.hear(OTHER, now=1.0)
    assert catalogue.forget_silent(ANNOUNCE_LIFETIME_S) == ([], frozenset())
    assert catalogue.services == ["fixture", "other"]
    assert catalogue.forget_silent(ANNOUNCE_LIFETIME_S + 0.5) == (["fixture"], frozenset(LISTS))
    assert catalogue.services == ["other"]
    assert (catalogue.tool("echo"), catalogue.prompt("greet"), catalogue.resource("fixture://still")) == (None,) * 3
    assert catalogue.task_service("task-1") is None
    assert catalogue.prompt("plain") is not None
    catalogue.hear(OTHER, now=ANNOUNCE_LIFETIME_S)
    assert catalogue.forget_silent(2 * ANNOUNCE_LIFETIME_S) == ([], frozenset())


def test_the_instructions_tell_of_every_service_the_one_with_most_tools_first() -> None:
    catalogue = heard(
        service("a", instructions="A says."), service("b", instructions="B says.", tools=(tool("t"),)), service("c")
    )
    text = catalogue.instructions_for(ANYBODY)
    assert text.startswith("You are the agent 'alice'.")
    assert text.index("never orders") < text.index("B says.") < text.index("A says.")
    assert not text.endswith("\n")


def test_of_two_services_with_a_tool_of_one_name_the_first_by_name_has_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        catalogue = heard(
            service("b", tools=(tool("same", ""),), prompts=(prompt("same"),)),
            service("a", tools=(tool("same", ""),), prompts=(prompt("same"),)),
        )
    for entry in (catalogue.tool("same"), catalogue.prompt("same")):
        assert entry is not None
        assert entry.service == "a"
    assert "a serves it, b is ignored" in caplog.text
    assert len(Peer(STATELESS, catalogue=catalogue).result("tools/list")["tools"]) == 1
    assert len(Peer(STATELESS, catalogue=catalogue).result("prompts/list")["prompts"]) == 1
    catalogue.forget_silent(0.0)
    catalogue.hear(service("a"), now=1.0)
    entry = catalogue.tool("same")
    assert entry is not None
    assert entry.service == "b"


def test_of_two_services_with_one_resource_the_first_by_name_has_it_and_its_scope() -> None:
    for uri, method, key in (
        ("x://same", "resources/list", "resources"),
        ("x://{same}", "resources/templates/list", "resourceTemplates"),
    ):
        field_name = "resource_templates" if "{" in uri else "resources"
        catalogue = heard(
            service("b", **{field_name: (resource(uri),)}),
            service("a", **{field_name: (resource(uri, announced.HIDDEN_SCOPE),)}),
        )
        assert Peer(STATELESS, catalogue=catalogue).result(method)[key] == []
        assert Peer(STATELESS, catalogue=catalogue).error("resources/read", {"uri": "x://same"})["code"] == -32602
        assert len(Peer(STATELESS, catalogue=catalogue, scopes=("*",)).result(method)[key]) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": (AnnouncedTool("m", {}),)},
        {"tools": (AnnouncedTool("m", {"name": 5}),)},
        {"prompts": (AnnouncedPrompt({"title": "t"}),)},
        {"resources": (AnnouncedResource({"name": "n"}),)},
        {"resource_templates": (AnnouncedResource({"uri": "x://y"}),)},
    ],
)
def test_an_announcement_of_something_without_a_name_is_refused_and_harms_nobody(fields: dict[str, Any]) -> None:
    catalogue = heard(FIXTURE, service("bad", tools=(tool("t", ""),)))
    with pytest.raises(ValueError, match="bad announces something without"):
        catalogue.hear(service("bad", **fields), now=1.0)
    assert catalogue.tool("t") is not None
    catalogue.hear(OTHER, now=2.0)
    assert "t" in [each["name"] for each in Peer(STATELESS, catalogue=catalogue).result("tools/list")["tools"]]


def test_what_a_scope_hides_is_in_no_list() -> None:
    lists = {
        "tools/list": ("tools", "name", ["echo", "form", "link", "mirror", "think", "think_with_tools"]),
        "prompts/list": ("prompts", "name", ["greet", "plain"]),
        "resources/list": ("resources", "uri", ["fixture://moving", "fixture://still"]),
        "resources/templates/list": (
            "resourceTemplates",
            "uriTemplate",
            ["fixture://things/{name}", "fixture://things/{name}/parts/{part}", "other://{name}"],
        ),
    }
    for method, (key, name, names) in lists.items():
        assert [entry[name] for entry in Peer(STATELESS).result(method)[key]] == names
        everything = Peer(STATELESS, scopes=("*",)).result(method)[key]
        assert len(everything) == len(names) + 1


def test_a_list_is_shared_only_if_everybody_sees_the_same() -> None:
    open_to_all = heard(service("a", tools=(tool("t", ""),)))
    for method in ("tools/list", "resources/list"):
        assert Peer(STATELESS, catalogue=open_to_all).result(method)["cacheScope"] == "public"
    scoped = heard(service("a", tools=(tool("t", SCOPE),)))
    for scopes in ((SCOPE,), (), ("*",)):
        assert Peer(STATELESS, catalogue=scoped, scopes=scopes).result("tools/list")["cacheScope"] == "private"


def test_a_list_follows_what_is_announced() -> None:
    catalogue = heard(service("a", tools=(tool("one", ""),)))
    peer = Peer(STATELESS, catalogue=catalogue)
    assert [each["name"] for each in peer.result("tools/list")["tools"]] == ["one"]
    catalogue.hear(service("a", tools=(tool("two", ""),)), now=1.0)
    assert [each["name"] for each in peer.result("tools/list")["tools"]] == ["two"]


def test_views_are_kept_for_a_bounded_number_of_sets_of_scopes() -> None:
    catalogue = announced.catalogue()
    for number in range(2500):
        catalogue.view(Principal("default", "a", "a", (f"s{number}",)))
    assert len(catalogue._views) <= 1001
    assert catalogue.view(USER) is catalogue.view(Principal("other", "b", "b", (SCOPE,)))


# Templates


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("fixture://still", "fixture"),
        ("fixture://things/a", "fixture"),
        ("fixture://things/a/b", "fixture"),
        ("fixture://things/a\nb", "fixture"),
        ("fixture://things/", None),
        ("fixture://things", None),
        ("fixture://thingsXa", None),
        ("xfixture://things/a", None),
        ("other://a", "other"),
        ("other://a/b/c", "other"),
        ("other:///", "other"),
        ("other://", None),
        ("", None),
        ("FIXTURE://things/a", None),
    ],
)
def test_a_uri_leads_to_the_service_whose_template_fits(uri: str, found: str | None) -> None:
    entry = announced.catalogue().resource(uri)
    assert (entry.service if entry else None) == found


def test_the_template_with_the_longest_fixed_part_comes_first() -> None:
    catalogue = heard(
        service("a", resource_templates=(resource("x://{all}"),)),
        service("b", resource_templates=(resource("x://one/{rest}"),)),
        service("c", resource_templates=(resource("x://one/{two}/three"),)),
        service("d", resources=(resource("x://one/2/three"),)),
    )
    for uri, name in (("x://y", "a"), ("x://one/y", "b"), ("x://one/y/three", "c"), ("x://one/2/three", "d")):
        entry = catalogue.resource(uri)
        assert entry is not None
        assert entry.service == name


def test_signs_in_a_template_are_nothing_but_themselves() -> None:
    catalogue = heard(service("a", resource_templates=(resource("x://a.b*c(d)[e]+?^$|\\/{name}"),)))
    assert catalogue.resource("x://a.b*c(d)[e]+?^$|\\/n") is not None
    assert catalogue.resource("x://aXb*c(d)[e]+?^$|\\/n") is None


@pytest.mark.parametrize(
    ("template", "uri"),
    [
        ("x://{a}.{b}/z", "x://" + "." * 200_000),
        ("x://{a}-{b}-{c}/z", "x://" + "-" * 200_000),
        ("x://{a}{b}{c}{d}/z", "x://" + "x" * 200_000),
        ("x://{a}-{b}/y/{c}-{d}/z", "x://" + "-" * 1000 + "/y/" + "-" * 200_000),
    ],
)
def test_a_long_uri_that_almost_fits_takes_no_longer_than_its_length_explains(template: str, uri: str) -> None:
    catalogue = heard(service("a", resource_templates=(resource(template),)))
    began = time.thread_time()
    assert catalogue.resource(uri) is None
    assert time.thread_time() - began < 0.5


@settings(deadline=None, max_examples=300)
@given(
    st.text("ab-./", max_size=6),
    st.lists(st.text("ab-./", max_size=3), min_size=1, max_size=4),
    st.text("ab-./", max_size=14),
)
def test_a_template_fits_what_its_variables_can_be(head: str, pieces: list[str], tail: str) -> None:
    catalogue = heard(service("a", resource_templates=(resource(head + "".join(f"{{v}}{piece}" for piece in pieces)),)))
    last = len(pieces) - 1
    plain = "".join((".+" if n == last and not p else "[^/]+") + re.escape(p) for n, p in enumerate(pieces))
    for uri in (tail, head + tail):
        fits = re.fullmatch(re.escape(head) + plain, uri) is not None
        assert (catalogue.resource(uri) is not None) == fits


def test_a_template_is_known_by_its_own_text() -> None:
    catalogue = announced.catalogue()
    assert catalogue.template("fixture://things/{name}") is not None
    assert catalogue.template("fixture://things/{other}") is None
    assert catalogue.template("fixture://things/a") is None


def test_the_longest_prefix_says_whose_a_task_is() -> None:
    catalogue = heard(service("a", task_prefix="t"), service("b", task_prefix="t-b-"), service("c", task_prefix=""))
    assert [catalogue.task_service(id) for id in ("t1", "t-b-1", "t-b", "u", "")] == ["a", "b", "a", None, None]


@settings(deadline=None)
@given(st.text())
def test_no_uri_whatever_does_anything_but_lead_somewhere_or_nowhere(uri: str) -> None:
    catalogue = announced.catalogue()
    entry = catalogue.resource(uri)
    if uri.startswith("fixture://things/") and len(uri) > len("fixture://things/"):
        assert entry is not None
    if entry is not None:
        assert uri.startswith(("fixture://", "other://"))
