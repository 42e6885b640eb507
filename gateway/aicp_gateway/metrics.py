"""The gateway's own metrics. Labels never name a tenant, a user or an agent."""

from prometheus_client import Counter, Gauge

from aicp_common.tally import Counts, Durations

REQUESTS = Counts(
    "aicp_gateway_requests_total",
    "Requests that were passed on to a service, by what was called, transport, and outcome: ok, tool_error (the tool's "
    "result says so), cancelled, or an error code.",
    ["called", "transport", "outcome"],
)
REQUEST_SECONDS = Durations(
    "aicp_gateway_request_seconds",
    "From a request to its answer, waiting included.",
    ["called"],
    bounds=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45),
)
MESSAGES = Counts("aicp_gateway_messages_total", "Messages received from clients.", ["transport"])
CONNECTIONS = Gauge("aicp_gateway_connections", "Open WebSocket connections and event streams.", ["transport"])
REFUSED = Counter(
    "aicp_gateway_refused_total", "Connections and HTTP requests that were refused, by error code.", ["code"]
)
NOTIFICATIONS = Counts("aicp_gateway_notifications_total", "Notifications sent to clients.", ["transport"])
INTERIM_DROPPED = Counter(
    "aicp_gateway_interim_dropped_total", "Progress and log notifications that a client did not read in time."
)
