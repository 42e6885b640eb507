"""The small parts: ids, tools, traces, waiting."""

import asyncio
import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from aicp_common.cancellation import end
from aicp_common.errors import InvalidArgument, tool_result_of
from aicp_common.ids import RESERVED_AGENTS, digest, id_from_text, is_id, new_id, require_id
from aicp_common.tool import Arguments, Result, encode_result, parse_arguments, schema_of
from aicp_common.tracing import is_traceparent, new_traceparent, span
from aicp_common.waiting import Waiters


@given(st.text())
def test_any_text_becomes_an_id(text: str) -> None:
    assert is_id(id_from_text(text))
    assert is_id(digest(text))


@given(st.text(), st.text())
def test_two_texts_never_meet_in_one_id(one: str, other: str) -> None:
    assert (id_from_text(one) == id_from_text(other)) == (one == other)
    assert id_from_text("BOB") != id_from_text("bob") == "bob"


def test_new_ids_are_ids_and_sort_by_time() -> None:
    made = [new_id("t") for _ in range(1000)]
    assert all(is_id(each) for each in made)
    assert len(set(made)) == 1000
    assert made[0][:9] <= made[-1][:9]


@pytest.mark.parametrize("text", ["", "A", "a b", "a.b", "-a", "_a", "a" * 65, "é", "a\n", ">", "*"])
def test_what_is_no_id_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(InvalidArgument, match="a-z"):
        require_id(text, "the agent name")


def test_the_hubs_own_names_are_ids() -> None:
    assert all(is_id(name) for name in RESERVED_AGENTS)


class Example(Arguments):
    """An example."""

    message: Annotated[str, Field(min_length=1, description="What to do.")]
    priority: Literal["high", "low"] = "low"
    wait_s: Annotated[float | None, Field(ge=0, le=40)] = None


class Holder(Arguments):
    value: Any


class Answer(Result):
    status: str
    note: str | None = None
    value: Any = None


def test_a_schema_is_for_reading() -> None:
    schema = schema_of(Example)
    assert schema["type"] == "object"
    assert schema["required"] == ["message"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["message"] == {"type": "string", "minLength": 1, "description": "What to do."}
    assert "title" not in json.dumps(schema)


def test_wrong_arguments_are_named_one_by_one() -> None:
    with pytest.raises(InvalidArgument) as wrong:
        parse_arguments(Example, b'{"message":"","priority":"urgent","wait_s":99,"extra":1}')
    text = str(wrong.value)
    for part in ("message: ", "priority: ", "'high' or 'low'", "wait_s: ", "40", "extra: no such argument"):
        assert part in text
    with pytest.raises(InvalidArgument) as wrong:
        parse_arguments(Example, b'{"message":"m","wait_s":"5"}')
    assert str(wrong.value) == "wait_s: should be a number, not in quotes, was '5'"
    with pytest.raises(InvalidArgument, match=r"value\.a\.1: a number is too large"):
        parse_arguments(Holder, b'{"value":{"a":[1,1e999]}}')
    assert parse_arguments(Holder, b'{"value":[1e300,"1e999"]}').value == [1e300, "1e999"]
    for body in (b"[]", b"{bad", b'"x"', b'{"message":5}', b'{"message":"\\ud800"}'):
        with pytest.raises(InvalidArgument):
            parse_arguments(Example, body)


def test_a_long_wrong_value_is_shortened() -> None:
    with pytest.raises(InvalidArgument) as wrong:
        parse_arguments(Example, json.dumps({"message": ["x" * 10_000]}).encode())
    assert len(str(wrong.value)) < 400


def test_a_result_is_structured_and_the_same_as_text() -> None:
    result = json.loads(encode_result(Answer(status="완료", value={"a": [1, None]})))
    assert result["structuredContent"] == {"status": "완료", "value": {"a": [1, None]}}
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    failed = json.loads(tool_result_of(InvalidArgument("no", expected="yes", hint="try")))
    assert failed["isError"] is True
    assert failed["content"][0]["text"] == "invalid_argument: no; expected: yes; try"


def test_without_an_exporter_a_span_is_its_parent() -> None:
    parent = new_traceparent()
    assert is_traceparent(parent)
    with span("x", parent) as inner:
        assert inner == parent
    with span("x", "") as inner:
        assert is_traceparent(inner)


@pytest.mark.parametrize("text", ["", "junk", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "01-" + "1" * 32])
def test_what_is_no_traceparent(text: str) -> None:
    assert not is_traceparent(text)


async def test_a_waiter_is_woken_by_a_signal_and_looks_by_itself_at_the_end() -> None:
    waiters = Waiters()
    state: list[int] = []

    async def read() -> int | None:
        return state[0] if state else None

    waiting = asyncio.create_task(waiters.until("a", read, 30))
    await asyncio.sleep(0)
    waiters.wake("b")
    await asyncio.sleep(0)
    assert not waiting.done()
    state.append(7)
    waiters.wake("a")
    assert await asyncio.wait_for(waiting, 1) == 7
    state.clear()
    assert await waiters.until("a", read, 0.01) is None
    assert not waiters._waiters


async def test_a_lost_signal_is_only_a_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aicp_common.waiting.REREAD_S", 0.02)
    waiters = Waiters()
    reads = 0

    async def read() -> int | None:
        nonlocal reads
        reads += 1
        return reads if reads == 3 else None

    assert await waiters.until("a", read, 30) == 3


async def test_waits_end_when_the_worker_stops() -> None:
    waiters = Waiters()

    async def read() -> int | None:
        return None

    waiting = asyncio.create_task(waiters.until("a", read, 30))
    await asyncio.sleep(0)
    waiters.close()
    assert await asyncio.wait_for(waiting, 1) is None


async def test_ending_tasks_outlasts_a_lost_cancellation() -> None:
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    async def failing() -> None:
        raise ZeroDivisionError

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(failing())]
    await asyncio.sleep(0)
    await asyncio.wait_for(end(tasks), 5)
    assert lost == 3
    assert all(task.done() for task in tasks)
