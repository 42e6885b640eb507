"""A second plug-in, for tests in which one service hangs and others must not."""

from typing import Any

from aicp_common.envelope import Envelope
from aicp_common.service import Service, Settings, serve
from tests.gateway import jobs

NAME = "neighbour"


def build(service: Service[Settings]) -> None:
    """Declare its tools."""
    jobs.declare(service, "errand")

    @service.raw_tool({"name": "greet_back", "description": "Answer.", "inputSchema": {"type": "object"}})
    async def greet_back(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": "hello"}]}


if __name__ == "__main__":
    serve(NAME, Settings, build)
