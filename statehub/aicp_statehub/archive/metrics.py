"""Prometheus metrics of the archive."""

from prometheus_client import Counter, Gauge

EVENTS = Counter("aicp_archive_events_total", "Events that this worker has stored in PostgreSQL.")
DUPLICATES = Counter("aicp_archive_duplicates_total", "Events that came again and were stored already.")
BATCHES = Counter("aicp_archive_batches_total", "Transactions in which this worker has stored events.")
UNUSABLE = Counter("aicp_archive_unusable_total", "Messages of the event log from which no row could be made.")
LOST = Counter("aicp_archive_lost_total", "Events that the event log dropped before they were archived.")
DELETED = Counter("aicp_archive_deleted_total", "Events that this worker has deleted after ARCHIVE_RETENTION_DAYS.")
FAILURES = Counter("aicp_archive_failures_total", "Attempts that failed and were repeated, by what was away.", ["away"])
for _away in ("postgres", "event_log"):
    FAILURES.labels(_away)  # shown as 0 until there is one
PENDING = Gauge("aicp_archive_pending", "Events in the event log that are not archived yet, by any worker.")
UP = Gauge("aicp_archive_up", "1 while this worker can write to PostgreSQL.")
