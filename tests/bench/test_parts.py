"""The measurements of the state hub run, small: what they find is for a quiet machine to say."""

import re

import pytest

from bench import context, many_keys, relay
from bench.__main__ import PARTS
from tests.support.processes import Backend

FIGURE = re.compile(r"-?[\d,]+(\.\d+)?")


def lines_of(table: str) -> dict[str, list[str]]:
    """The figures of Markdown tables, by the name in the first column."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    return {name: figures for name, *figures in rows if figures and all(map(FIGURE.fullmatch, figures))}


async def test_sharing_and_reading_are_measured_beside_a_bare_tool_call(own_backend: Backend) -> None:
    found = lines_of(await context.measure(own_backend, 1, 100))
    assert list(found) == ["a tool that says what it was told", "`share_context`", "`get_context`"]
    # Calls a second and the time of one alone, each with its ratio to the first.
    assert found["a tool that says what it was told"][1::2] == ["1.00", "1.00"]


@pytest.mark.slow
async def test_many_keys_are_measured_beside_few_and_redis_sees_no_command_that_looks_at_all(
    own_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_keys, "OPERATIONS", 100)
    monkeypatch.setattr(many_keys, "WATCH_S", 0.5)
    found = lines_of(await many_keys.measure(own_backend, 1, 3_000))
    assert {len(figures) for figures in found.values()} == {6}
    assert list(found) == [
        "`share_context`",
        "`get_context` of a key",
        "`get_context`, a page of 10",
        "`get_context`, the last 10 changes",
        "snapshot",
        "1,000 keys",
        "3,000 keys",
    ]
    for keys in ("1,000 keys", "3,000 keys"):
        assert float(found[keys][0].replace(",", "")) > 0


def test_a_snapshot_that_looks_at_everything_or_holds_up_redis_fails_the_measurement() -> None:
    many_keys.judge({"evalsha", "ping", "zrangebylex"}, [0.1] * 99 + [900.0])
    with pytest.raises(RuntimeError, match="look at everything: keys, scan"):
        many_keys.judge({"evalsha", "keys", "scan"}, [0.1] * 100)
    with pytest.raises(RuntimeError, match="PINGs took more than 400 ms"):
        many_keys.judge({"evalsha"}, [0.1] * 80 + [400.0] * 20)


async def test_the_way_of_a_change_to_listeners_is_measured_at_both_ends(own_backend: Backend) -> None:
    found = lines_of(await relay.measure(own_backend, 1, 200))
    assert list(found) == [
        "script to event",
        "acknowledgement to event",
        "script to notification",
        "acknowledgement to notification",
    ]
    for figures in found.values():
        p50, p99, longest = map(float, figures)
        assert p50 <= p99 <= longest
    # A listener cannot know before the change was made; the clock of the script is one of whole milliseconds.
    assert float(found["script to event"][0]) > 0


def test_each_part_has_a_title_and_a_text_of_its_own() -> None:
    assert len({part.title for part in PARTS.values()}) == len(PARTS)
    assert all(part.text.strip() for part in PARTS.values())
