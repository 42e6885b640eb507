"""Prometheus metrics that every service has. Labels never name a tenant, a user or an agent."""

from prometheus_client import Counter, Gauge

from aicp_common.tally import Counts, Durations

CALLS = Counts(
    "aicp_calls_total",
    "Calls that a service answered, by method and outcome (ok or an error code).",
    ["method", "outcome"],
)
CALL_SECONDS = Durations(
    "aicp_call_seconds",
    "From the arrival of a call to its answer, waiting included.",
    ["method"],
    bounds=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45),
)
CALLS_IN_FLIGHT = Gauge("aicp_calls_in_flight", "Calls that a service works on or waits in.")
BUS_CONNECTED = Gauge("aicp_bus_connected", "1 while the connection to NATS stands.")
LOOP_FAILURES = Counter(
    "aicp_background_failures_total", "Background loops that failed and were started again.", ["loop"]
)
