"""Who is told of what comes on a subject, and how often."""

import json

from aicp_common.bus import Bus
from aicp_gateway.notices import Notices
from aicp_gateway.source import Source
from aicp_gateway.watches import MOST_RECENT, Watches


async def test_an_event_that_comes_again_is_told_once(bus: Bus, tenant: str) -> None:
    subject, told = f"aicp.v1.event.{tenant}.context.k.changed", list[str]()
    watches, notices = Watches(bus), Notices(lambda _: None)
    await watches.add(notices, "aicp://context/k", Source(subject))

    async def publish(*numbers: int) -> int:
        """How many of the events with these numbers told something."""
        told.clear()
        for number in numbers:
            # As the relay of the state hub does when it does not know whether the log has it.
            await bus.publish(
                subject, json.dumps({"event_id": f"{tenant}:{number}-0", "data": {}}).replace(" ", "").encode()
            )
            await bus.flush()
            messages, _ = notices.take()
            told.extend(map(str, messages))
        return len(told)

    assert await publish(1, 2, 1, 2, 3) == 3
    assert await publish(*range(4, 4 + MOST_RECENT)) == MOST_RECENT
    await watches.remove_all(notices)


async def test_what_is_no_event_is_told_each_time(bus: Bus, tenant: str) -> None:
    subject = f"aicp.v1.agent.{tenant}.ada"
    watches, notices = Watches(bus), Notices(lambda _: None)
    await watches.add(notices, "aicp://inbox", Source(subject))
    for _ in range(2):
        await bus.publish(subject, b"")
        await bus.flush()
        assert len(notices.take()[0]) == 1
    await watches.remove_all(notices)
