"""What orchestrate_collaboration takes, and what of it does not go together."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError

from aicp_common.context_keys import KEY_RULE, is_key
from aicp_common.envelope import encode_json
from aicp_common.errors import InvalidArgument
from aicp_common.ids import ID_PATTERN
from aicp_common.tool import MAX_WAIT_S, Arguments
from aicp_orchestrator.collaborations.handover import RESERVED_CONTEXT
from aicp_orchestrator.collaborations.patterns import DEFAULT_ROUNDS, MAX_ROUNDS
from aicp_orchestrator.collaborations.plan import MAX_RETRIES, MAX_STEPS, OnFailure
from aicp_orchestrator.collaborations.stepargs import (
    MAX_STEP_S,
    MAX_TASK_BYTES,
    STEPS_EXAMPLE,
    AgentName,
    StepArguments,
    Text,
    step_problem,
)

MAX_CONTEXT_BYTES = 32 * 1024
"""Of an object as `context`: half of what a task may have, so that results fit beside it."""
MAX_INPUT_BYTES = 16 * 1024
MAX_CHOICES = 20
MAX_DEADLINE_S = 86_400
"""The router remembers for a day which steps were made; a collaboration must not outlive that."""

AUTO = "auto"
"""As `synthesizer`: whoever offers it."""

SHARE_IT = "put long material into a shared context with share_context and name its key in `context`"

AskedPattern = Literal["parallel", "pipeline", "debate", "vote", "map_reduce"]
"""What a requester may ask for by name; a plan of its own has the pattern `steps`."""

_WHOSE: dict[str, AskedPattern] = {"inputs": "map_reduce", "choices": "vote", "rounds": "debate"}
"""Arguments that belong to one pattern, and stand for it where none is named."""


class CollaborationArguments(Arguments):
    """Arguments of orchestrate_collaboration."""

    task: Annotated[Text, Field(description="The whole task, with all that the agents need to know.")]
    agents: Annotated[
        list[AgentName] | None,
        Field(
            min_length=1,
            max_length=MAX_STEPS,
            description="Which others take part, by name. Without agents and steps: up to 3 that are online and fit.",
        ),
    ] = None
    pattern: Annotated[
        AskedPattern | None,
        Field(
            description="parallel: each agent works on the whole task. pipeline: one after the other in the order of "
            "`agents`, each with the result of the one before. debate: rounds of answers and critique. vote: each "
            "chooses, the majority counts. map_reduce: the task once for each of `inputs`. Without pattern and steps: "
            "an agent that offers planning makes a plan (one of `agents`, if you name them), or else parallel."
        ),
    ] = None
    steps: Annotated[
        list[StepArguments] | None,
        Field(min_length=1, max_length=MAX_STEPS, description="A plan of your own, instead of `agents` and `pattern`."),
    ] = None
    inputs: Annotated[
        list[Any] | None,
        Field(min_length=1, max_length=MAX_STEPS, description="For map_reduce: the task is done for each of them."),
    ] = None
    choices: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]] | None,
        Field(min_length=2, max_length=MAX_CHOICES, description="For vote: what may be chosen. Default: anything."),
    ] = None
    rounds: Annotated[
        int | None,
        Field(ge=1, le=MAX_ROUNDS, description=f"For debate: how often each agent speaks; default {DEFAULT_ROUNDS}."),
    ] = None
    synthesizer: Annotated[
        AgentName | None,
        Field(
            description="Who makes one answer of the parts, or is the judge of a debate or of a vote without majority: "
            f'an agent\'s name, or "{AUTO}" for one that offers synthesis. Default: you, when you have the parts.'
        ),
    ] = None
    context: Annotated[
        Annotated[str, Field(min_length=1, max_length=512)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=512)]], Field(max_length=20)]
        | dict[str, Any]
        | None,
        Field(description="For each step: keys of shared contexts, or an object with what the agents should know."),
    ] = None
    on_failure: Annotated[
        OnFailure | None,
        Field(
            description="continue (default of all but pipeline and steps): go on without a step that fails. fail_fast "
            "(default of those): the first failure ends the whole. quorum: `quorum` results are enough."
        ),
    ] = None
    quorum: Annotated[
        int | None,
        Field(ge=1, le=MAX_STEPS, description="How many results are enough; the rest is cancelled then."),
    ] = None
    retries: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_RETRIES,
            description="How often another agent tries a step that fails. Default: 1, or 0 where you name the agent.",
        ),
    ] = None
    step_timeout_s: Annotated[
        float | None, Field(ge=1, le=MAX_STEP_S, description="Seconds for one try of a step; default: as the whole.")
    ] = None
    room: Annotated[
        str | None,
        Field(pattern=ID_PATTERN, description="A room of yours that hears how it goes and what comes of it."),
    ] = None
    deadline_s: Annotated[
        float | None, Field(ge=1, le=MAX_DEADLINE_S, description="Seconds for the whole; default one day.")
    ] = None
    wait_s: Annotated[
        float, Field(ge=0, le=MAX_WAIT_S, description="Seconds to wait here for the result; get_task waits on.")
    ] = 20
    idempotency_key: Annotated[
        str | None,
        Field(min_length=1, max_length=128, description="The same key again gives the same collaboration, no new one."),
    ] = None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """As pydantic's, with errors in `steps` told in terms of a step.

        Raises:
            InvalidArgument: something in `steps` is wrong.
            ValidationError: another argument is wrong.
        """
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            problems = [problem for problem in error.errors(include_url=False) if problem["loc"][:1] == ("steps",)]
            if not problems:
                raise
            raise InvalidArgument(
                "; ".join(step_problem(problem) for problem in problems[:8]),
                expected=f"the fields of a step are: {', '.join(StepArguments.model_fields)}",
                hint=f"for example {STEPS_EXAMPLE}",
            ) from error


def check_sizes(arguments: CollaborationArguments) -> None:
    """Check what is given beside the steps.

    Raises:
        InvalidArgument: something is too large, or does not go together.
    """
    if len(arguments.task.encode()) > MAX_TASK_BYTES:
        raise InvalidArgument(
            f"task has {len(arguments.task.encode())} bytes", expected=f"at most {MAX_TASK_BYTES}", hint=SHARE_IT
        )
    if isinstance(arguments.context, dict):
        size = len(encode_json(arguments.context))
        if size > MAX_CONTEXT_BYTES:
            raise InvalidArgument(
                f"context has {size} bytes as JSON",
                expected=f"at most {MAX_CONTEXT_BYTES}",
                hint=SHARE_IT,
            )
        taken = sorted(RESERVED_CONTEXT.intersection(arguments.context))
        if taken:
            raise InvalidArgument(f"context: {taken[0]!r} is written by the hub", expected="another name for it")
    for key in _keys(arguments):
        if not is_key(key):
            raise InvalidArgument(
                f"context: {key[:80]!r} is no key of the shared context",
                expected=f"a key ({KEY_RULE}), a list of keys, or an object with what the agents should know",
            )
    for place, item in enumerate(arguments.inputs or ()):
        size = len(encode_json(item))
        if size > MAX_INPUT_BYTES:
            raise InvalidArgument(
                f"inputs.{place} has {size} bytes as JSON", expected=f"at most {MAX_INPUT_BYTES}", hint=SHARE_IT
            )
    if (arguments.quorum is None) != (arguments.on_failure != "quorum") and arguments.on_failure is not None:
        raise InvalidArgument(
            "quorum: it goes with on_failure 'quorum', and that with it", expected="both, or `quorum` alone"
        )


def _keys(arguments: CollaborationArguments) -> list[str]:
    """The keys of shared contexts that are named."""
    if arguments.context is None or isinstance(arguments.context, dict):
        return []
    return [arguments.context] if isinstance(arguments.context, str) else arguments.context


def pattern_of(arguments: CollaborationArguments) -> AskedPattern | None:
    """The pattern that is named, or that another argument stands for.

    Raises:
        InvalidArgument: they contradict each other.
    """
    pattern = arguments.pattern
    for name, whose in _WHOSE.items():
        if getattr(arguments, name) is None:
            continue
        if arguments.steps is not None or pattern not in (None, whose):
            raise InvalidArgument(
                f"{name}: belongs to the pattern {whose}, not to {'steps' if arguments.steps else pattern}",
                expected=f"pattern {whose!r}, or no {name}",
            )
        pattern = whose
    if pattern == "map_reduce" and not arguments.inputs:
        raise InvalidArgument("inputs: missing", expected="for map_reduce a list of inputs, each done by itself")
    return pattern
