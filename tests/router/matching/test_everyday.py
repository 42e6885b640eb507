"""Everyday messages in small networks: the right agent gets them, or nobody does, by words alone."""

import numpy as np
import pytest

from aicp_router.matching import intent
from aicp_router.matching.index import AgentIndex, Candidates, Described, Wish
from aicp_router.matching.scoring import Match, in_doubt

OFFICE = {
    "dev": Described(("coding", "code review"), "Writes Python and Rust code."),
    "chef": Described(("cooking",)),
    "lex": Described(("law",), "Reads contracts, knows employment law."),
}
SHOP = {
    "nina": Described(("marketing",), "Brand strategy and campaigns for small shops."),
    "bob": Described(("data analysis",), "Develops reports, makes charts."),
    "ted": Described(("translation",), "English, German, Korean."),
    "pat": Described(("plumbing", "repairs"), "Fixes pipes, taps and heating."),
    "wil": Described(("writing",), "Letters, poems and blog posts."),
}

OF_OFFICE = [
    ("Fix the bug in my parser", "dev", "code"),
    ("Can you fix this bug?", "dev", "code"),
    ("my unit test fails", "dev", "code"),
    ("my tests fail", "dev", "code"),
    ("Debug this stack trace", "dev", "code"),
    ("review my pull request", "dev", "code"),
    ("deploy the service with docker", "dev", "code"),
    ("Write a function that sorts a list", "dev", "code"),
    ("이 버그 고쳐줘", "dev", "code"),
    ("파이썬 코드의 버그를 고쳐 주세요", "dev", "code"),
    ("修复这个bug", "dev", "code"),
    ("この関数のバグを直して", "dev", "code"),
    ("Escribe una función en Python", "dev", "code"),
    ("Fehler im Python-Skript beheben", "dev", "code"),
    ("is this contract valid?", "lex", "question"),
    ("계약서를 검토해 주세요", "lex", "other"),
    ("请看一下这份合同", "lex", "other"),
    ("Kannst du meinen Vertrag prüfen?", "lex", "question"),
    ("a recipe for pancakes", "chef", "other"),
    ("eine Suppe kochen", "chef", "other"),
    ("una receta con huevos", "chef", "other"),
    ("Can they fire me while I am ill?", None, "question"),
    ("Write a letter to my landlord", None, "writing"),
    ("Write a haiku about tea", None, "writing"),
    ("write a poem", None, "writing"),
    ("How did the weather develop last week?", None, "question"),
    ("Develop a marketing strategy", None, "other"),
    ("a slogan for our market stall", None, "writing"),
    ("How did sales develop?", None, "question"),
    ("Fix the leaking pipe in my kitchen", None, "other"),
    ("수도꼭지를 고쳐 주세요", None, "other"),
    ("The dishwasher shows an error", None, "other"),
    ("My car crashed", None, "other"),
    ("what is the capital of Peru?", None, "question"),
    ("Carol: no room", None, "other"),
    ("tune the piano", None, "other"),
    ("hello", None, "other"),
]
OF_SHOP = [
    ("Fix the leaking pipe in my kitchen", "pat", "other"),
    ("Write a letter to my landlord", "wil", "writing"),
    ("Write a haiku about tea", "wil", "writing"),
    ("schreib einen Brief an meine Oma", "wil", "writing"),
    ("Escribe un poema sobre el mar", "wil", "writing"),
    ("I need a slogan for my bakery", "wil", "writing"),
    ("Develop a marketing strategy", "nina", "other"),
    ("How did sales develop?", "nina", "question"),
    ("What is the average of these numbers?", "bob", "analysis"),
    ("Draw a chart of the sales", "bob", "analysis"),
    ("分析一下销售数据", "bob", "analysis"),
    ("translate this into Korean", "ted", "translation"),
    ("이 문장을 번역해 주세요", "ted", "translation"),
    ("Traduis cette lettre", "ted", "translation"),
    ("How did the weather develop last week?", None, "question"),
    ("Make it shorter", None, "other"),
    ("Find my keys", None, "other"),
    ("Can they fire me while I am ill?", None, "question"),
]


def _matches(network: dict[str, Described], wish: Wish) -> list[Match]:
    index = AgentIndex()
    for name, profile in network.items():
        index.put(name, profile)
    return index.match(wish, Candidates(tuple(network)))


@pytest.mark.parametrize(
    ("network", "message", "agent", "kind"),
    [(OFFICE, *line) for line in OF_OFFICE] + [(SHOP, *line) for line in OF_SHOP],
)
def test_an_everyday_message_finds_the_right_agent_or_nobody(
    network: dict[str, Described], message: str, agent: str | None, kind: str
) -> None:
    matches = _matches(network, Wish(message))
    best = matches[0]
    assert (best.agent if best.eligible else None) == agent
    assert intent.read(message).kind == kind
    for match in matches[1:] if best.eligible else matches:
        assert match.eligible or match.parts.message < 0.5
    assert best.eligible == (best.parts.message >= 0.5)
    if agent is None:
        assert in_doubt(matches)


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("Carol: no room", "und"),
        ("write a poem", "en"),
        ("Fix the bug in my parser", "en"),
        ("Write a haiku about tea", "en"),
        ("Develop a marketing strategy", "en"),
        ("schreib einen Brief an meine Oma", "de"),
        ("Kannst du meinen Vertrag prüfen?", "de"),
        ("Escribe un poema sobre el mar", "es"),
        ("Traduis cette lettre", "fr"),
        ("이 버그 고쳐줘", "ko"),
    ],
)
def test_the_language_of_a_short_message_is_told_or_left_open(message: str, language: str) -> None:
    assert intent.read(message).language == language


def test_who_does_the_very_thing_goes_before_who_does_its_like() -> None:
    network = {"kim": Described(("coding",)), "sam": Described(("debugging",)), "zoe": Described(("cooking",))}
    first, second, third = _matches(network, Wish("Debug this stack trace"))
    assert (first.agent, second.agent, third.agent) == ("sam", "kim", "zoe")
    assert second.eligible
    assert not third.eligible
    assert first.parts.message > second.parts.message > third.parts.message


def test_thin_words_leave_doubt_and_clear_ones_do_not() -> None:
    assert in_doubt(_matches(OFFICE, Wish("Can you fix this bug?")))
    assert not in_doubt(_matches(OFFICE, Wish("Review this Python code")))


def test_meaning_decides_where_words_are_thin_and_not_where_they_are_clear() -> None:
    index = AgentIndex()
    axes = np.eye(3, dtype=np.float32)
    for (name, profile), axis in zip(OFFICE.items(), axes, strict=True):
        index.put(name, profile, axis)
    of_law = Wish("Can you fix this bug?", vector=axes[2])
    assert [match.agent for match in index.match(of_law, Candidates(tuple(OFFICE))) if match.eligible] == ["lex"]
    clear = Wish("Review this Python code", vector=axes[2])
    assert {match.agent for match in index.match(clear, Candidates(tuple(OFFICE))) if match.eligible} == {"dev", "lex"}


def test_a_meaning_that_is_near_nobody_makes_nobody_eligible_or_high() -> None:
    index = AgentIndex()
    axes = np.eye(4, dtype=np.float32)
    for (name, profile), axis in zip(OFFICE.items(), axes, strict=False):
        index.put(name, profile, axis)
    faint = axes[3] + 0.1 * axes[1]
    for match in index.match(Wish("tune the piano", vector=faint), Candidates(tuple(OFFICE))):
        assert not match.eligible
        assert match.parts.message < 0.5


def test_who_takes_anything_leaves_doubt_whether_another_one_fits() -> None:
    network = OFFICE | {"eve": Described(("general",))}
    matches = _matches(network, Wish("Can they fire me while I am ill?"))
    assert (matches[0].agent, matches[0].eligible) == ("eve", True)
    assert in_doubt(matches)


def test_the_parts_explain_the_score() -> None:
    thin = _matches(OFFICE, Wish("Can you fix this bug?"))[0]
    clear = _matches(OFFICE, Wish("Review this Python code"))[0]
    assert thin.parts._replace(message=0.0) == clear.parts._replace(message=0.0)
    gained = (clear.score - thin.score) / (clear.parts.message - thin.parts.message)
    # What message and capability weigh, when no capability is wanted, of all weights.
    assert gained == pytest.approx(0.72 / 1.29)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (("data analysis",), "bob has all of the wanted capabilities,"),
        (("analysis",), "bob has a capability like the wanted one,"),
        (("data analysis", "cooking"), "bob has 1 of the 2 wanted capabilities,"),
        (("data analysis", "cooking", "analysis"), "bob has 1 of the 3 wanted capabilities and something like 1 more,"),
        (("analysis", "cooking"), "bob has none of the 2 wanted capabilities but something like 1,"),
        (("cooking",), "bob has none of the wanted capabilities,"),
    ],
)
def test_the_reason_counts_capabilities(wanted: tuple[str, ...], told: str) -> None:
    reasons = {match.agent: match.reason for match in _matches(SHOP, Wish("", wanted))}
    assert reasons["bob"].startswith(told)


def test_the_reason_names_a_language_that_does_not_fit() -> None:
    network = {"ana": Described(("translation",), "", ("es",)), "kim": Described(("translation",), "", ("ko",))}
    reasons = {match.agent: match.reason for match in _matches(network, Wish("이 문장을 번역해 주세요"))}
    assert "names only other languages than the message's" in reasons["ana"]
    assert "languages" not in reasons["kim"]
