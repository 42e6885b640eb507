"""Asking the client: what a service may want from the person or the LLM behind a call before it can answer.

A service never waits for a client. It ends the call with `InputRequired`, and the gateway calls again with the
answers: in the stateless era the client itself comes back with them (MCP 2026-07-28, basic/patterns/mrtr), in the
handshake era the gateway asks with server requests and comes back in the client's name. Any worker may take the
second call.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from aicp_common.errors import Internal

MAX_STATE_BYTES = 32 * 1024
"""What a service may give along, earlier answers included. It travels through the client."""


class InputRequired(Exception):
    """Ends a call: it goes on, from its beginning, once the client has answered.

    Args:
        requests: By keys of the service's choice: `ElicitRequest`, `CreateMessageRequest` or `ListRootsRequest`
            objects with `method` and `params`. May be empty when there is a state.
        state: What the service wants to find again when the call comes back. The gateway seals it; only the same
            principal can bring it back, with the same request, within some minutes.
    """

    def __init__(self, requests: Mapping[str, Mapping[str, Any]], state: str = "") -> None:
        super().__init__(f"input required: {', '.join(requests) or 'none'}")
        if not requests and not state:
            raise ValueError("an InputRequired needs requests or a state")
        self.requests = requests
        self.state = state


def elicitation(message: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A request that shows the person `message` and a form.

    Args:
        message: Says why.
        schema: JSON Schema of a flat object; see MCP 2025-11-25, client/elicitation, "Requested Schema".
    """
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def sampling(prompt: str, max_tokens: int, system: str = "") -> dict[str, Any]:
    """A request that puts `prompt` to the client's LLM."""
    messages = [{"role": "user", "content": {"type": "text", "text": prompt}}]
    params: dict[str, Any] = {"messages": messages, "maxTokens": max_tokens}
    if system:
        params["systemPrompt"] = system
    return {"method": "sampling/createMessage", "params": params}


def roots() -> dict[str, Any]:
    """A request for the folders that the client works in."""
    return {"method": "roots/list", "params": {}}


class _Kept(msgspec.Struct, array_like=True):
    state: str
    answers: dict[str, Any]


def keep(state: str, answers: Mapping[str, Any]) -> str:
    """One text for a service's state and the answers so far: the client gives each answer once.

    Raises:
        Internal: they are longer than `MAX_STATE_BYTES`.
    """
    kept = msgspec.json.encode(_Kept(state, dict(answers)))
    if len(kept) > MAX_STATE_BYTES:
        raise Internal(f"what the call has to remember has {len(kept)} bytes, at most {MAX_STATE_BYTES} are possible")
    return kept.decode()


def recall(kept: str) -> tuple[str, dict[str, Any]]:
    """What `keep` made one text of; an empty text holds nothing."""
    if not kept:
        return "", {}
    found = msgspec.json.decode(kept, type=_Kept)
    return found.state, found.answers
