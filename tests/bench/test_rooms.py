"""A room of a whole hub to which many listen, small: each message comes to each member once and in order."""

import re

import pytest

from bench import rooms
from tests.support.processes import Backend

MEMBERS = 100
SECONDS = 3


async def test_every_member_is_told_of_every_message_once_and_who_was_away_reads_what_it_missed(
    own_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "SECONDS", SECONDS)
    # What is told twice, in another order or not at all fails the measurement.
    report = await rooms.measure(own_backend, 1, MEMBERS)
    said, gone = rooms.RATE * SECONDS, MEMBERS // rooms.LEAVE
    found = dict(re.findall(r"\| messages that members (read|were told)[^|]*\| ([\d,]+) \|", report))
    heard, read = (int(found[name].replace(",", "")) for name in ("were told", "read"))
    # One that left in the middle has heard of the first half, or of a little less.
    assert heard + read == said * MEMBERS
    assert gone * said / 2 <= read <= gone * said
    times = re.findall(r"\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", report)
    assert all(0 < float(p50) <= float(longest) for p50, _, longest in times)
    assert len(times) == 2
