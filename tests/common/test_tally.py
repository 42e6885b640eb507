"""Counters and histograms that go up on the event loop, as Prometheus reads them."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from aicp_common.tally import Counts, Durations


def test_counters_are_read_by_their_labels() -> None:
    registry = CollectorRegistry()
    counts = Counts("calls_total", "Calls.", ["method", "outcome"], registry)
    counts.of("echo", "ok").value += 1
    counts.of("echo", "ok").value += 1
    counts.of("echo", "not_found").value += 1
    assert registry.get_sample_value("calls_total", {"method": "echo", "outcome": "ok"}) == 2
    assert registry.get_sample_value("calls_total", {"method": "echo", "outcome": "not_found"}) == 1
    assert b"# TYPE calls_total counter" in generate_latest(registry)


def test_a_bucket_holds_what_is_at_most_its_bound() -> None:
    registry = CollectorRegistry()
    durations = Durations("call_seconds", "How long.", ["method"], (0.001, 0.01, 1), registry)
    for seconds in (0.0, 0.001, 0.0011, 0.5, 1.0, 7.0):
        durations.of("echo").observe(seconds)

    def at_most(bound: str) -> float | None:
        return registry.get_sample_value("call_seconds_bucket", {"method": "echo", "le": bound})

    assert [at_most(bound) for bound in ("0.001", "0.01", "1.0", "+Inf")] == [2, 3, 5, 6]
    assert registry.get_sample_value("call_seconds_count", {"method": "echo"}) == 6
    assert registry.get_sample_value("call_seconds_sum", {"method": "echo"}) == 8.5021
    [family] = text_string_to_metric_families(generate_latest(registry).decode())
    assert family.type == "histogram"
