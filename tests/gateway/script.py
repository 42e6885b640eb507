"""The tool `play` of the plug-in: it does what its arguments say, step by step."""

import asyncio
import json
from typing import Any

from aicp_common.asking import InputRequired, elicitation, roots, sampling
from aicp_common.current_call import current_call
from aicp_common.envelope import Envelope
from aicp_common.errors import Conflict
from aicp_common.service import Service, Settings
from tests.gateway.notebook import Notebook

QUESTIONS = {
    "form": elicitation("Who is there?", {"type": "object", "properties": {"name": {"type": "string"}}}),
    "llm": sampling("What is the capital of France?", 20),
    "roots": roots(),
}
"""What a step `ask` can ask, by kind."""


def declare(service: Service[Settings], notebook: Notebook) -> None:
    """Declare it."""
    schema = {
        "type": "object",
        "properties": {"steps": {"type": "array"}, "mark": {"type": "string"}},
        "required": ["steps"],
    }
    definition = {"name": "play", "description": "Does what the steps say.", "inputSchema": schema}

    @service.raw_tool(definition)
    async def play(envelope: Envelope, arguments: dict[str, Any]) -> dict[str, Any]:
        call = current_call()
        # A call that comes back goes on with the step that asked.
        first = int(call.state or 0)
        try:
            for number, step in enumerate(arguments["steps"][first:], first):
                await carry_out(number, *step)
        except asyncio.CancelledError:
            await notebook.write(f"cancelled {arguments.get('mark', '')}")
            raise
        said = {"answers": call.answers, "agent": envelope.principal.agent}
        return {"content": [{"type": "text", "text": json.dumps(said)}], "structuredContent": said}

    async def carry_out(number: int, verb: str, /, *what: Any) -> None:
        call = current_call()
        match verb:
            case "progress":
                await call.progress(*what)
            case "log":
                await call.log(*what)
            case "flood":
                count, size = what
                for each in range(count):
                    await call.progress(each + 1, None, "x" * size)
            case "end_stream":
                await call.end_stream()
            case "write":
                await notebook.write(*what)
            case "wait":
                await notebook.wait_for(*what)
            case "sleep":
                await asyncio.sleep(*what)
            case "ask":
                open_questions = {key: QUESTIONS[kind] for key, kind in what[0].items() if key not in call.answers}
                if open_questions:
                    raise InputRequired(open_questions, str(number))
            case "again":
                # To be called once more, and nothing else: possible as long as there is something to come back with.
                raise InputRequired({}, str(number + 1))
            case "fail":
                raise Conflict(*what)
