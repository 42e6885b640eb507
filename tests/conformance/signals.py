"""Tools that do something beside their answer: progress, log messages, a stream that ends early, lists that change."""

import asyncio
from typing import Any

from aicp_common.current_call import current_call
from aicp_common.envelope import Envelope
from aicp_common.service import Service, Settings
from tests.conformance.definition import definition, said, text

PAUSE_S = 0.05
"""What the scenarios ask for between two messages, so that they travel apart."""

CHANGING_TOOL = "test_changing_tool"
CHANGING_PROMPT = "test_changing_prompt"


def declare(service: Service[Settings]) -> None:
    """Declare the tools."""

    @service.raw_tool(definition("test_tool_with_progress", "Tells how far it is."))
    async def test_tool_with_progress(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        for done in (0, 50, 100):
            await current_call().progress(done, 100, f"Completed step {done} of 100")
            await asyncio.sleep(PAUSE_S)
        return said("Tool with progress executed successfully")

    @service.raw_tool(definition("test_tool_with_logging", "Logs what it does."))
    async def test_tool_with_logging(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await current_call().log("info", words)
            await asyncio.sleep(PAUSE_S)
        return said("Tool with logging executed successfully")

    @service.raw_tool(definition("test_logging_tool", "Logs, for those who want to read it."))
    async def test_logging_tool(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        await current_call().log("emergency", "This was asked for")
        return said("Logged, if it was asked for")

    @service.raw_tool(definition("test_reconnection", "Ends the stream, and answers once the client may be back."))
    async def test_reconnection(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        await current_call().end_stream()
        await asyncio.sleep(2 * PAUSE_S)
        return said("Reconnection test completed successfully")

    @service.raw_tool(definition(CHANGING_TOOL, "Comes and goes."))
    async def changing_tool(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return said("I am here now")

    @service.prompt(name=CHANGING_PROMPT, title="Changing", description="Comes and goes.")
    async def changing_prompt(envelope: Envelope, arguments: dict[str, str]) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text("I am here now")}]}

    gone: set[str] = set()

    async def come_or_go(name: str) -> dict[str, Any]:
        if name in gone:
            gone.discard(name)
            service.restore(name)
        else:
            gone.add(name)
            service.withdraw(name)
        await service.announce()
        return said(f"{name} has {'gone' if name in gone else 'come'}")

    @service.raw_tool(definition("test_trigger_tool_change", "Changes the list of tools."))
    async def test_trigger_tool_change(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return await come_or_go(CHANGING_TOOL)

    @service.raw_tool(definition("test_trigger_prompt_change", "Changes the list of prompts."))
    async def test_trigger_prompt_change(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        return await come_or_go(CHANGING_PROMPT)
