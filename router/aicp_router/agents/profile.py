"""Profiles: what an agent says about itself."""

import msgspec

DEFAULT_CONCURRENCY = 4
"""Tasks that an agent works on at once when it has not said otherwise."""

GUEST_PREFIX = "guest-"
"""How names begin that a gateway makes for one connection or session. Nobody comes back under such a name."""


def is_guest(agent: str) -> bool:
    """Whether `agent` has its name for one connection or session only."""
    return agent.startswith(GUEST_PREFIX)


class Profile(msgspec.Struct, frozen=True):
    """What others can know of an agent."""

    agent: str
    user: str
    """The person behind it."""
    capabilities: tuple[str, ...]
    """In the agent's own words and language."""
    description: str
    model: str = ""
    languages: tuple[str, ...] = ()
    max_concurrency: int = DEFAULT_CONCURRENCY
    accept_from: tuple[str, ...] = ()
    """Names of the agents whose work it takes; empty for everybody."""
    react_s: float | None = None
    """How long a task may wait for it before it is passed on; None: as the hub has it."""
    registered_ms: int = 0
    """Milliseconds since the epoch."""

    def accepts(self, requester: str) -> bool:
        """Whether it takes work from the agent `requester`."""
        return not self.accept_from or requester in self.accept_from


encode_profile = msgspec.json.Encoder().encode
decode_profile = msgspec.json.Decoder(Profile).decode
