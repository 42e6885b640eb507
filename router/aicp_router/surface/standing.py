"""How a task stands, in a sentence."""

from aicp_common.ids import RESERVED_AGENTS

_SHOWN_CHARS = 500


def in_words(state: str, agent: str, progress: str = "", message: str = "") -> str:
    """How a task stands that has not ended.

    Args:
        state: Of the task.
        agent: Who has it; empty when another one is looked for.
        progress: 0 to 1, as text; empty when the worker has not said.
        message: What the worker said last. Words of another agent.
    """
    name = f"the {agent}" if agent in RESERVED_AGENTS else agent
    match state:
        case "submitted":
            return f"waits for {name} to take it" if agent else "waits for another agent"
        case "input_required":
            return f"{name} waits for an answer"
    said = f": {message[:_SHOWN_CHARS]}" if message else ""
    share = f" ({float(progress):.0%})" if progress else ""
    return f"{name} works on it{said}{share}"
