"""What a message says of itself."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_router.matching.intent import language, read, urgency
from tests.router.matching.profiles import quick


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("안녕하세요, 도와주세요", "ko"),
        ("Python 코드를 봐 주세요", "ko"),
        ("こんにちは世界", "ja"),
        ("你好，请帮我", "zh"),
        ("what is this about?", "en"),
        ("¿puedes ayudarme con el informe?", "es"),
        ("kannst du mir bitte mit dem Bericht helfen", "de"),
        ("est-ce que vous pouvez traduire cette lettre pour moi", "fr"),
        ("переведи это письмо", "ru"),
        ("12 + 5", "und"),
        ("", "und"),
        ("The Korean word 안녕 is in this English sentence and that is fine", "en"),
    ],
)
def test_the_language_is_told_by_script_and_common_words(text: str, expected: str) -> None:
    assert language(text) == expected


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("translate this code comment into Korean", "translation"),
        ("이 함수의 버그를 고쳐 주세요", "code"),
        ("分析一下销售趋势", "analysis"),
        ("论文综述", "research"),
        ("来週の予定を立てて", "planning"),
        ("write a short poem about autumn", "writing"),
        ("a csv with all customers", "data"),
        ("what is the capital of Peru?", "question"),
        ("hello", "other"),
    ],
)
def test_the_kind_of_a_task_is_told_by_what_it_speaks_of(text: str, kind: str) -> None:
    assert read(text).kind == kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("URGENT: the server is down", "urgent"),
        ("I need this asap", "urgent"),
        ("급해요, 서버가 죽었어요", "urgent"),
        ("紧急：服务器宕机", "urgent"),
        ("至急お願いします", "urgent"),
        ("no rush, whenever you can", "batch"),
        ("this is not urgent", "batch"),
        ("급하지 않아요", "batch"),
        ("不急，有空再看", "batch"),
        ("please review the insurgent chapter", "normal"),
    ],
)
def test_urgency_is_told_by_words(text: str, expected: str) -> None:
    assert urgency(text) == expected


def test_capabilities_are_inferred() -> None:
    assert read("데이터를 분석해서 차트로 보여 주세요").capabilities == ("data", "analysis", "visualization")


@quick
@given(st.text(max_size=200))
def test_any_text_has_an_intent(text: str) -> None:
    assert read(text).language


@pytest.mark.parametrize(
    "text", ["나요" + " " * 60_000 + "x", "ですか" + " " * 60_000 + "x", "?" * 60_000, "urgent" * 10_000]
)
def test_a_long_message_is_read_at_once(text: str) -> None:
    began = time.perf_counter()
    read(text)
    urgency(text)
    language(text)
    assert time.perf_counter() - began < 0.5


def test_of_a_long_message_the_beginning_and_the_end_are_read() -> None:
    assert urgency("It is urgent. " + "x " * 5_000) == "urgent"
    assert urgency("x " * 5_000 + "please at once") == "urgent"
    assert read("x " * 5_000 + "how is that?").kind == "question"
