"""What has to pass: every server scenario of both revisions, those included that the suite does not count.

The suite runs them with `--requirements REVISION`; the lists stand here as well, so that a scenario that it leaves out,
or has in addition, is noticed. Source: the files `requirements/*.yaml` of the package.
"""

_BOTH = (
    "completion-complete",
    "tools-list",
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-mixed-content",
    "tools-call-error",
    "tools-call-with-progress",
    "server-sse-multiple-streams",
    "resources-list",
    "resources-read-text",
    "resources-read-binary",
    "resources-templates-read",
    "prompts-list",
    "prompts-get-simple",
    "prompts-get-with-args",
    "prompts-get-embedded-resource",
    "prompts-get-with-image",
    "dns-rebinding-protection",
    # Pending in the suite: its own server does not pass.
    "json-schema-2020-12",
)

SCENARIOS: dict[str, tuple[str, ...]] = {
    "2025-11-25": (
        *_BOTH,
        "server-initialize",
        "logging-set-level",
        "ping",
        "tools-call-with-logging",
        "tools-call-sampling",
        "tools-call-elicitation",
        "elicitation-sep1034-defaults",
        "elicitation-sep1330-enums",
        "resources-subscribe",
        "resources-unsubscribe",
        # Written after the revision was released.
        "server-session-lifecycle",
        # Pending in the suite.
        "server-sse-polling",
    ),
    "2026-07-28": (
        *_BOTH,
        "server-stateless",
        "sep-2164-resource-not-found",
        "caching",
        "input-required-result-basic-elicitation",
        "input-required-result-basic-sampling",
        "input-required-result-basic-list-roots",
        "input-required-result-request-state",
        "input-required-result-multiple-input-requests",
        "input-required-result-multi-round",
        "input-required-result-missing-input-response",
        "input-required-result-non-tool-request",
        "input-required-result-result-type",
        "input-required-result-unsupported-methods",
        "input-required-result-tampered-state",
        "input-required-result-capability-check",
        "input-required-result-ignore-extra-params",
        "input-required-result-validate-input",
        # Pending in the suite.
        "http-header-validation",
        "http-custom-header-server-validation",
        # The tasks extension.
        "tasks-lifecycle",
        "tasks-capability-negotiation",
        "tasks-wire-fields",
        "tasks-request-state-removal",
        "tasks-mrtr-input",
        "tasks-request-headers",
        "tasks-dispatch-and-envelope",
        "tasks-status-notifications",
        "tasks-required-task-error",
        "tasks-mrtr-composition",
    ),
}
"""By revision."""

ALLOWED: dict[tuple[str, str, str], str] = {
    ("tasks-status-notifications", "tasks-status-notifications", "SKIPPED"): (
        "the suite skips it for every server: it has no client for the stream that carries these notifications yet"
    ),
    ("server-sse-multiple-streams", "server-sse-streams-functional", "INFO"): (
        "a server may answer with JSON where it has nothing to stream"
    ),
}
"""Checks that may end otherwise than with SUCCESS: scenario, check and status, and why."""

TRANSCRIPT = ("outgoing-request", "incoming-response", "incoming-sse-event", "stream-closed")
"""Checks with the status INFO that only write down what was sent."""
