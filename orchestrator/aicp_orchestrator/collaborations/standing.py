"""How a collaboration stands, in a sentence."""

from aicp_orchestrator.router_client import TaskView

NOT_BEGUN = "the collaboration waits to begin"
"""What whoever asks for a collaboration takes for granted."""


def in_words(whole: TaskView | None) -> str:
    """How a collaboration stands that has not ended; None: it could not be read yet."""
    if whole is None or whole.state == "submitted":
        return NOT_BEGUN
    return f"{whole.progress_message or 'the collaboration runs'} ({whole.progress:.0%})"
