"""Cancellations that come before their call, and new calls under an id that was cancelled."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicp_common import subjects
from aicp_common.bus import Bus
from aicp_common.envelope import Envelope, Principal
from aicp_common.overtaken import CALL_LASTS_S, MAX_NOTES, OVERTAKEN_S, Overtaken
from aicp_gateway.dispatch import CALL_DEADLINE_S
from tests.conftest import envelope
from tests.gateway.conftest import plugin_process
from tests.support.processes import Backend, ServiceProcess

SOON = st.floats(0, OVERTAKEN_S)
NOW = 1_800_000_000.123_456


def call(sent: float, id: str = "7", session: str = "s-1", lasts_s: float = CALL_LASTS_S) -> Envelope:
    """A call that was sent then."""
    deadline_ms = int((sent + lasts_s) * 1000)
    return Envelope(Principal("t", "alice", "alice", ("*",)), deadline_ms, "", id, session)


def noted(at: float) -> Overtaken:
    """A note of the id 7."""
    overtaken = Overtaken()
    overtaken.note("7", at)
    return overtaken


def test_gateways_send_calls_so_long_before_their_deadline() -> None:
    assert CALL_LASTS_S == CALL_DEADLINE_S


@given(SOON, SOON)
def test_a_cancellation_ends_the_call_that_it_has_overtaken_once(before: float, after: float) -> None:
    overtaken = noted(NOW)
    assert overtaken.ends(call(NOW - before), NOW + after) is (NOW + after - NOW <= OVERTAKEN_S)
    assert not overtaken.ends(call(NOW - before), NOW + after)


@given(st.floats(0.001, OVERTAKEN_S), SOON)
def test_a_call_that_was_sent_after_the_cancellation_is_another_one(later: float, after: float) -> None:
    overtaken = noted(NOW)
    assert not overtaken.ends(call(NOW + later), NOW + max(later, after))
    # And the overtaken one may still come.
    assert overtaken.ends(call(NOW - 0.01), NOW + OVERTAKEN_S / 2)


@given(st.floats(0, 40), st.floats(0, 40), SOON)
def test_a_note_never_ends_a_call_between_services(before: float, lasts_s: float, after: float) -> None:
    assert not noted(NOW).ends(call(NOW - before, session="", lasts_s=lasts_s), NOW + after)


def test_a_note_ends_no_call_of_another_id() -> None:
    assert not noted(NOW).ends(call(NOW - 1, '"7"'), NOW)


def test_a_note_is_forgotten_after_a_moment() -> None:
    overtaken = noted(NOW)
    assert not overtaken.ends(call(NOW - 1), NOW + OVERTAKEN_S * 1.01)
    assert len(overtaken) == 0


@given(st.lists(st.tuples(st.integers(0, 5).map(str), st.floats(0, 0.5)), max_size=50))
def test_notes_are_kept_in_the_order_in_which_they_came(heard: list[tuple[str, float]]) -> None:
    overtaken, now, last = Overtaken(), NOW, dict[str, float]()
    for id, later in heard:
        now += later
        overtaken.note(id, now)
        last[id] = now
    for id, at in last.items():
        assert overtaken.ends(call(NOW, id), now) is (now - at <= OVERTAKEN_S)


def test_notes_are_bounded_in_number_and_the_oldest_goes_first() -> None:
    overtaken = Overtaken()
    for number in range(MAX_NOTES + 10):
        overtaken.note(str(number), NOW)
    assert len(overtaken) == MAX_NOTES
    assert not overtaken.ends(call(NOW, "9"), NOW)
    assert overtaken.ends(call(NOW, "10"), NOW)


# -------------------------------------------------------------------------------------------------------- over a bus


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Of these tests alone: a plug-in of other tests would answer some of the calls."""
    running = Backend(tmp_path_factory.mktemp("overtaken"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def plugin(backend: Backend) -> Iterator[ServiceProcess]:
    service = plugin_process(backend).start().wait()
    yield service
    assert service.stop() == 0


async def outcome(bus: Bus, sent: Envelope) -> str:
    """The code of the error that a call ends with, or `done`."""
    result: Any = json.loads((await bus.call("fixture", "echo", sent, b'{"text":"a"}')).body)
    code: str = result["_meta"]["aicp/error"]["code"] if result.get("isError") else "done"
    return code


async def cancel(bus: Bus, tenant: str, request_id: str) -> None:
    """Cancel what is not here, and wait until the worker has heard of it."""
    await bus.publish(subjects.CANCEL, request_id.encode())
    await bus.flush()
    assert await outcome(bus, envelope(tenant, "alice")) == "done"


async def test_an_id_can_be_used_again_right_after_its_cancellation(
    plugin: ServiceProcess, bus: Bus, tenant: str
) -> None:
    id = f"{tenant}:7"
    old = call(time.time(), id)
    await cancel(bus, tenant, id)
    later = time.time() + 0.002
    for _ in range(3):
        assert await outcome(bus, call(later, id)) == "done"
    assert await outcome(bus, old) == "unavailable"
    assert await outcome(bus, old) == "done"


async def test_a_service_can_go_on_calling_in_the_name_of_a_cancelled_call(
    plugin: ServiceProcess, bus: Bus, tenant: str
) -> None:
    id = f"{tenant}:8"
    await cancel(bus, tenant, id)
    assert await outcome(bus, call(time.time(), id, session="", lasts_s=5)) == "done"
    assert await outcome(bus, call(time.time() + 0.002, id)) == "done"
