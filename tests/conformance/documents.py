"""The fixture's resources and prompts, and what completes their arguments."""

import json
from typing import Any

from aicp_common import subjects
from aicp_common.envelope import Envelope
from aicp_common.errors import NotFound
from aicp_common.service import Service, Settings
from aicp_common.surface import Complete, PromptArgument
from aicp_common.tool import Arguments
from tests.conformance.contents import resource
from tests.conformance.definition import image, text
from tests.conformance.questions import entered, form

TEXT_URI = "test://static-text"
BINARY_URI = "test://static-binary"
WATCHED_URI = "test://watched-resource"
TEMPLATE_HEAD, TEMPLATE_TAIL = "test://template/", "/data"
WORDS = ("paris", "park", "party", "test", "testing")
CONTEXT = form("What context should the prompt use?", context={"type": "string"})


class Uri(Arguments):
    """Which resource."""

    uri: str


def user(content: dict[str, Any]) -> dict[str, Any]:
    """A message of a prompt."""
    return {"role": "user", "content": content}


def declare(service: Service[Settings]) -> None:
    """Declare them."""
    _declare_resources(service)
    _declare_prompts(service)

    async def complete(envelope: Envelope, wanted: Complete) -> list[str]:
        return [word for word in WORDS if word.startswith(wanted.argument.value)]

    service.completion(complete)


def _declare_resources(service: Service[Settings]) -> None:
    for uri, name, description, mime_type in (
        (TEXT_URI, "static-text", "A text that never changes.", "text/plain"),
        (BINARY_URI, "static-binary", "An image that never changes.", "image/png"),
        (WATCHED_URI, "watched-resource", "A text that can be subscribed to.", "text/plain"),
    ):
        service.resource(
            uri=uri,
            name=name,
            title=name,
            description=description,
            scope="",
            watchable=uri == WATCHED_URI,
            mime_type=mime_type,
        )
    service.resource_template(
        uri_template=f"{TEMPLATE_HEAD}{{id}}{TEMPLATE_TAIL}",
        name="template",
        title="template",
        description="Data of an id.",
        scope="",
        watchable=False,
        mime_type="application/json",
    )

    @service.method(Uri)
    async def resource_read(envelope: Envelope, arguments: Uri) -> dict[str, Any]:
        uri = arguments.uri
        if uri == BINARY_URI:
            return {"contents": [{"uri": uri, "mimeType": "image/png", "blob": image()["data"]}]}
        if uri == TEXT_URI:
            return _text(uri, "text/plain", "This is the content of the static text resource.")
        if uri == WATCHED_URI:
            return _text(uri, "text/plain", "This is the content of the watched resource.")
        if uri.startswith(TEMPLATE_HEAD) and uri.endswith(TEMPLATE_TAIL):
            found = uri.removeprefix(TEMPLATE_HEAD).removesuffix(TEMPLATE_TAIL)
            return _text(
                uri,
                "application/json",
                json.dumps({"id": found, "templateTest": True, "data": f"Data for ID: {found}"}),
            )
        raise NotFound(f"there is no resource {uri!r}")

    @service.method(Uri)
    async def resource_watch(envelope: Envelope, arguments: Uri) -> dict[str, str]:
        if arguments.uri != WATCHED_URI:
            raise NotFound(f"{arguments.uri!r} cannot be watched")
        return {"subject": subjects.event(envelope.principal.tenant, "fixture", "watched", "changed")}


def _text(uri: str, mime_type: str, words: str) -> dict[str, Any]:
    return {"contents": [{"uri": uri, "mimeType": mime_type, "text": words}]}


def _declare_prompts(service: Service[Settings]) -> None:
    @service.prompt(name="test_simple_prompt", title="Simple", description="Without arguments.")
    async def simple(envelope: Envelope, arguments: dict[str, str]) -> dict[str, Any]:
        return {"messages": [user(text("This is a simple prompt for testing."))]}

    @service.prompt(
        name="test_prompt_with_arguments",
        title="With arguments",
        description="Says its arguments.",
        arguments=(
            PromptArgument(name="arg1", description="First test argument", required=True),
            PromptArgument(name="arg2", description="Second test argument", required=True),
        ),
    )
    async def with_arguments(envelope: Envelope, arguments: dict[str, str]) -> dict[str, Any]:
        words = f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'"
        return {"messages": [user(text(words))]}

    @service.prompt(
        name="test_prompt_with_embedded_resource",
        title="With a resource",
        description="Holds a resource.",
        arguments=(PromptArgument(name="resourceUri", description="URI of the resource to embed", required=True),),
    )
    async def with_resource(envelope: Envelope, arguments: dict[str, str]) -> dict[str, Any]:
        embedded = resource(arguments["resourceUri"], "text/plain", "Embedded resource content for testing.")
        return {"messages": [user(embedded), user(text("Please process the embedded resource above."))]}

    @service.prompt(name="test_prompt_with_image", title="With an image", description="Holds an image.")
    async def with_image(envelope: Envelope, arguments: dict[str, str]) -> dict[str, Any]:
        return {"messages": [user(image()), user(text("Please analyze the image above."))]}

    @service.prompt(name="test_input_required_result_prompt", title="Asks", description="Asks before it is there.")
    async def asking(envelope: Envelope, arguments: dict[str, str]) -> dict[str, Any]:
        context = entered("user_context", CONTEXT, "context", str)
        return {"messages": [user(text(f"Prompt with context: {context}"))]}
