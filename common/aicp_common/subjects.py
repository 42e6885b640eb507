"""Every NATS subject of the hub. Tokens are validated ids or digests, never raw text of a user."""

ANNOUNCE = "aicp.v1.announce"
"""Services publish here what they serve: at start, on change, every few seconds, and when asked."""
ANNOUNCE_REQUEST = "aicp.v1.announce.request"
"""A gateway that starts asks here; every service announces itself."""
PRESENCE = "aicp.v1.presence"
"""Gateways publish here which agents are connected to them."""
CANCEL = "aicp.v1.cancel"
"""Gateways publish here the request id of a call whose client no longer wants the answer."""
EVENTS = "aicp.v1.event.>"
"""What the JetStream stream of the event log captures."""
EVENT_STREAM = "AICP_EVENTS"

ANY_TASK = "aicp.v1.task.*.*"
ANY_AGENT = "aicp.v1.agent.*.*"
ANY_CONTEXT = "aicp.v1.context.*.*"
ANY_ROOM = "aicp.v1.room.*.*"
HANDED_OVER = "aicp.v1.orchestrator.hand_over"
"""A worker of the orchestrator that stops publishes here what it ran, for one of the others."""


def call(service: str, method: str) -> str:
    """Where `method` of `service` is called; queue group = the service's name."""
    return f"aicp.v1.{service}.{method}"


def event(tenant: str, entity: str, entity_id: str, what: str) -> str:
    """One event of the log. `*` as `entity_id` or `what` makes it a pattern to watch."""
    return f"aicp.v1.event.{tenant}.{entity}.{entity_id}.{what}"


def agent(tenant: str, name: str) -> str:
    """ "You have work": published when a task enters the agent's queue."""
    return f"aicp.v1.agent.{tenant}.{name}"


def task(tenant: str, task_id: str) -> str:
    """Something about this task has changed: those who wait for it read it again."""
    return f"aicp.v1.task.{tenant}.{task_id}"


def context(tenant: str, key_digest: str) -> str:
    """Something about this context has changed: those who wait for it read it again."""
    return f"aicp.v1.context.{tenant}.{key_digest}"


def context_folder(tenant: str, folder_digest: str) -> str:
    """Something in this folder of contexts has changed: for those who watch the folder."""
    return f"aicp.v1.folder.{tenant}.{folder_digest}"


def room(tenant: str, room_id: str) -> str:
    """Something has happened in this room: those who wait for it, and gateways with members that watch it, read on."""
    return f"aicp.v1.room.{tenant}.{room_id}"


def rooms_of(tenant: str, agent_name: str) -> str:
    """This agent has come into a room, has left one, or was invited: for those who watch its list of rooms."""
    return f"aicp.v1.rooms.{tenant}.{agent_name}"


def session(session_id: str) -> str:
    """What a gateway must push to one client, or know about its session."""
    return f"aicp.v1.session.{session_id}"
