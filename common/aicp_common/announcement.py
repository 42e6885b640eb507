"""What a service announces: the MCP tools, resources and prompts that it serves, and the scope that each needs."""

from typing import Any

import msgspec

ANNOUNCE_INTERVAL_S = 5.0
ANNOUNCE_LIFETIME_S = 60.0
"""A service that has not announced itself for this long has left; its tools leave the list."""


class AnnouncedTool(msgspec.Struct, frozen=True):
    """One tool: a call of it goes to `method` of the service with the tool's arguments as the body."""

    method: str
    tool: dict[str, Any]
    """The MCP `Tool` object."""
    scope: str = ""
    requires: tuple[str, ...] = ()
    """What the client must be able to do, in the words of `Client.can`; others are refused before the call."""


class AnnouncedResource(msgspec.Struct, frozen=True):
    """One resource, with a `uri`, or one template, with a `uriTemplate` whose variable stands at its end.

    Reads go to the method `resource_read`, `{"uri": ...}` in, a `ReadResourceResult` out. Before a client's
    subscription the gateway calls `resource_watch`, `{"uri": ...}` in, `{"subject": ...}` out, and then listens on
    that NATS subject; each message on it is one `notifications/resources/updated`.

    A service whose resource grows by numbered items may say what is new, so that subscribers need not read again. It
    answers `resource_watch` with `{"subject": ..., "news": {"method": ..., "after": 17}}`; 17 is the number of the last
    item, and the client is told of those after it. At each message on the subject every gateway then calls `method` of
    the service once for all its clients, with `{"uri": ..., "after": ...}`, as the agent `gateway` of the tenant with
    all scopes: nobody else may call it. The answer is
    `{"after": 19, "for": ["alice", "bob"], "news": [{"number": 18, ...}, {"number": 19, ...}], "more": false}`:

    - `news`: the items after the number that was asked from, in order. Each has its `number`, the rest is the
      service's. They are passed on as they are, in `_meta` of the notification under `aicp/news`.
    - `after`: up to where this answer tells, the number that was asked from when it tells nothing. A lower one says
      that the numbers have begun again, for another resource of that name: clients are told that something has changed.
    - `for`: the agents that may hear of it, as of this moment. Others hear nothing.
    - `more`: whether there are later ones; the gateway asks for them at once. Without it, it asks until nothing comes.

    Messages on the subject may get lost or come too often: a gateway also asks when NATS was away, again after 1 s when
    there was no answer, and every 20 s.
    """

    resource: dict[str, Any]
    """The MCP `Resource` or `ResourceTemplate` object."""
    scope: str = ""
    watchable: bool = False
    ttl_ms: int = 0
    """How long a client may take what it has read for fresh."""
    public: bool = False
    """Whether it is the same for everybody, so that caches may share it."""


class AnnouncedPrompt(msgspec.Struct, frozen=True):
    """One prompt. `prompts/get` goes to the method `prompt_get`: `{"name", "arguments"}` in, `GetPromptResult` out."""

    prompt: dict[str, Any]
    """The MCP `Prompt` object."""
    scope: str = ""


class Announcement(msgspec.Struct, frozen=True):
    """Everything that one service serves."""

    service: str
    version: str
    instructions: str = ""
    """This service's part of the server instructions that clients get."""
    tools: tuple[AnnouncedTool, ...] = ()
    resources: tuple[AnnouncedResource, ...] = ()
    resource_templates: tuple[AnnouncedResource, ...] = ()
    prompts: tuple[AnnouncedPrompt, ...] = ()
    completes: bool = False
    """Whether it completes arguments of its prompts and templates. `completion/complete` goes to the method
    `complete`: `{"ref", "argument", "context"}` in, `CompleteResult` out."""
    task_prefix: str = ""
    """What the ids of its tasks begin with; empty: it has none. See `aicp_common.mcptask` for the methods."""


encode_announcement = msgspec.json.Encoder().encode
decode_announcement = msgspec.json.Decoder(Announcement).decode
