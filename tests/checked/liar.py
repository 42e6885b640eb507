"""A service whose resources are not what MCP says, one of them excepted."""

from typing import Any

from aicp_common.envelope import Envelope
from aicp_common.service import Service, Settings, serve
from aicp_common.tool import Arguments

NAME = "liar"
TRUE = "liar://true"
FALSE = "liar://false"


class Uri(Arguments):
    uri: str


def build(service: Service[Settings]) -> None:
    """Declare the resources."""
    service.resource_template(
        uri_template="liar://{name}", name="statement", title="Statement", description="True or false.", scope=""
    )

    @service.method(Uri)
    async def resource_read(envelope: Envelope, arguments: Uri) -> dict[str, Any]:
        text: object = "a text" if arguments.uri == TRUE else 5
        return {"contents": [{"uri": arguments.uri, "text": text}]}


if __name__ == "__main__":
    serve(NAME, Settings, build)
