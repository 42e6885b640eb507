"""Prometheus metrics of the relay."""

from prometheus_client import Counter, Gauge

from aicp_common.tally import Durations

RELAYED = Counter("aicp_relay_events_total", "Events that this worker has relayed to the event log.")
DUPLICATES = Counter("aicp_relay_duplicates_total", "Of these, events that the log had already and dropped.")
DEAD_LETTERS = Counter("aicp_relay_dead_letters_total", "Entries of outboxes from which no event could be made.")
FAILURES = Counter("aicp_relay_failures_total", "Attempts that failed and were repeated, by what was away.", ["away"])
LATENCY_SECONDS = Durations(
    "aicp_relay_latency_seconds",
    "From the commit of a change to the event log's acknowledgement.",
    (),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
).of()
LAG_SECONDS = Gauge("aicp_relay_lag_seconds", "Age of the oldest event that waits in the outboxes this worker relays.")
OUTBOX_ENTRIES = Gauge("aicp_relay_outbox_entries", "Events that wait in the outboxes this worker relays.")
SHARDS_HELD = Gauge("aicp_relay_shards", "Shards of tenants that this worker relays.")
LOG_CONNECTED = Gauge("aicp_relay_connected", "1 while this worker's connection to the event log stands.")
