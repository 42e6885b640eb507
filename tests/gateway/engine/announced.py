"""What the services of these tests announce: some of everything that the engine treats in a way of its own."""

from typing import Any

from aicp_common.announcement import AnnouncedPrompt, AnnouncedResource, AnnouncedTool, Announcement
from aicp_gateway.catalogue import Catalogue

SCOPE = "fixture:use"
"""What principals of the tests have, unless a test says otherwise."""

HIDDEN_SCOPE = "fixture:hidden"

MIRRORED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "dry": {"type": "boolean", "x-mcp-header": "Dry-Run"},
        "where": {"type": "object", "properties": {"zone": {"type": "string", "x-mcp-header": "Zone"}}},
        "text": {"type": "string"},
    },
}

MIRRORED_PATHS = {
    "mcp-param-region": ("region",),
    "mcp-param-count": ("count",),
    "mcp-param-dry-run": ("dry",),
    "mcp-param-zone": ("where", "zone"),
}
"""By header, in lower case: where the value stands in the arguments of `mirror`."""


def tool(name: str, scope: str = SCOPE, *, requires: tuple[str, ...] = (), schema: Any = None) -> AnnouncedTool:
    """A tool; calls of it go to the method `do_{name}`."""
    described = {"name": name, "description": f"Does {name}.", "inputSchema": schema or {"type": "object"}}
    return AnnouncedTool(f"do_{name}", described, scope, requires)


def resource(uri: str, scope: str = "", **fields: Any) -> AnnouncedResource:
    """A resource, or a template when the URI has a variable."""
    key = "uriTemplate" if "{" in uri else "uri"
    return AnnouncedResource({key: uri, "name": uri.rpartition("/")[2]}, scope, **fields)


def prompt(name: str, scope: str = "") -> AnnouncedPrompt:
    """A prompt with one argument."""
    return AnnouncedPrompt({"name": name, "arguments": [{"name": "whom"}]}, scope)


FIXTURE = Announcement(
    service="fixture",
    version="1.0.0",
    instructions="The fixture echoes.",
    tools=(
        tool("echo"),
        tool("hidden", HIDDEN_SCOPE),
        tool("form", requires=("elicitation",)),
        tool("link", requires=("elicitation.url",)),
        tool("think", requires=("sampling",)),
        tool("think_with_tools", requires=("sampling.tools", "roots")),
        tool("mirror", schema=MIRRORED),
    ),
    resources=(
        resource("fixture://still", ttl_ms=5000, public=True),
        resource("fixture://hidden", HIDDEN_SCOPE),
        resource("fixture://moving", watchable=True),
    ),
    resource_templates=(
        resource("fixture://things/{name}", watchable=True),
        resource("fixture://things/{name}/parts/{part}", ttl_ms=10),
        resource("fixture://hidden/{name}", HIDDEN_SCOPE, watchable=True),
    ),
    prompts=(prompt("greet"), prompt("hidden", HIDDEN_SCOPE)),
    completes=True,
    task_prefix="task-",
)

OTHER = Announcement(
    service="other",
    version="1.0.0",
    resource_templates=(resource("other://{name}"),),
    prompts=(prompt("plain"),),
    task_prefix="task-other-",
)


def catalogue(page_size: int = 100) -> Catalogue:
    """Both services' announcements, merged."""
    merged = Catalogue(page_size=page_size)
    merged.hear(FIXTURE, now=0.0)
    merged.hear(OTHER, now=0.0)
    return merged
