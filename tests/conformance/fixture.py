"""The plug-in that the official conformance suite expects behind a server: `python -m tests.conformance.fixture`.

The suite calls tools, reads resources and gets prompts by fixed names, and checks what comes back. Names, texts and
schemas are those that its scenarios describe. Source: `conformance list --server` and the descriptions that
`conformance server --scenario NAME` prints.
"""

from aicp_common.service import Service, Settings, serve
from tests.conformance import contents, documents, questions, signals, taskwork

NAME = "conformance"


def build(service: Service[Settings]) -> None:
    """Declare everything."""
    contents.declare(service)
    signals.declare(service)
    questions.declare(service)
    taskwork.declare(service)
    documents.declare(service)


if __name__ == "__main__":
    serve(NAME, Settings, build, instructions="The fixture of the conformance suite does as it is told.")
