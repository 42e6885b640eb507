"""Outcomes: what routing learns from. One stream a tenant, which the scripts of tasks write and every router reads.

`outcomes` (stream, after the tenant's prefix; the newest `OUTCOME_CAP`): `agent`, `message` (how it begins), `what`
(`completed`, `failed`, `declined`, `lapsed`, `ignored`, or `rated`), `ms` (from the claim to then), `score` (of a
rating), `user` (for whom the task was asked), `named` (1 when its requester named the agent). Older entries have
neither of the last two.
"""

from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis

from aicp_common.store import Script
from aicp_router.matching.learning import Outcome

REWARDS = {"completed": 1.0, "failed": -0.7, "declined": -1.0, "lapsed": -0.5, "ignored": -0.3}
"""What an end of an attempt says of its agent and this kind of message. Who declines says that it is nothing for it;
who falls silent may have had other reasons."""

_READ = Script(
    ["after", "count"],
    """
return redis.call('XRANGE', prefix .. ':outcomes', '(' .. after, '+', 'COUNT', count)
""",
)


async def read(redis: Redis, tenant: str, *, after: str, count: int) -> list[tuple[str, Outcome]]:
    """The first `count` outcomes after the one with the id `after` (`0-0`: from the beginning), each with its id."""
    found = cast("Sequence[tuple[str, list[str]]]", await _READ(redis, tenant, after=after, count=count))
    return [(id, _outcome(id, dict(zip(flat[::2], flat[1::2], strict=True)))) for id, flat in found]


def _outcome(id: str, fields: dict[str, str]) -> Outcome:
    rated = fields["what"] == "rated"
    return Outcome(
        agent=fields["agent"],
        # The script cuts bytes, maybe in the middle of a character.
        message=fields["message"].encode("utf-8", "surrogateescape").decode("utf-8", "ignore"),
        reward=float(fields["score"]) if rated else REWARDS[fields["what"]],
        at=int(id.partition("-")[0]) / 1000,
        duration_s=None if rated or not fields["ms"] else int(fields["ms"]) / 1000,
        user=fields.get("user", ""),
        named=fields.get("named") == "1",
    )
