"""Tools that answer at once: every kind of content, an error, a schema with every keyword, arguments in headers."""

import json
from typing import Any

from aicp_common.envelope import Envelope
from aicp_common.errors import Conflict
from aicp_common.service import Service, Settings
from tests.conformance.definition import audio, definition, given, image, said, text

JSON_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def resource(uri: str, mime_type: str, words: str) -> dict[str, Any]:
    """A content block: a resource of text."""
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "text": words}}


def declare(service: Service[Settings]) -> None:
    """Declare the tools."""

    @service.raw_tool(definition("test_simple_text", "Answers with a text."))
    async def test_simple_text(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said("This is a simple text response for testing.")

    @service.raw_tool(definition("test_image_content", "Answers with an image."))
    async def test_image_content(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"content": [image()]}

    @service.raw_tool(definition("test_audio_content", "Answers with a sound."))
    async def test_audio_content(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"content": [audio()]}

    @service.raw_tool(definition("test_embedded_resource", "Answers with a resource."))
    async def test_embedded_resource(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        words = "This is an embedded resource content."
        return {"content": [resource("test://embedded-resource", "text/plain", words)]}

    @service.raw_tool(definition("test_multiple_content_types", "Answers with a text, an image and a resource."))
    async def test_multiple_content_types(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        words = json.dumps({"test": "data", "value": 123}, separators=(",", ":"))
        mixed = resource("test://mixed-content-resource", "application/json", words)
        return {"content": [text("Multiple content types test:"), image(), mixed]}

    @service.raw_tool(definition("test_error_handling", "Fails always."))
    async def test_error_handling(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        raise Conflict("This tool intentionally returns an error for testing")

    @service.raw_tool(
        {"name": "json_schema_2020_12_tool", "description": "Has every keyword.", "inputSchema": JSON_SCHEMA}
    )
    async def json_schema_2020_12_tool(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said(json.dumps(arguments))

    @service.raw_tool(
        definition(
            "test_custom_header",
            "Its region stands in a header as well, where whoever routes requests can see it.",
            region={"type": "string", "x-mcp-header": "Region"},
            limit={"type": "integer", "x-mcp-header": "Limit"},
            query={"type": "string"},
        )
    )
    async def test_custom_header(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said(json.dumps(arguments))

    @service.raw_tool(definition("greet", "Greets.", name={"type": "string"}))
    async def greet(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said(f"Hello, {given(arguments, 'name')}!")
