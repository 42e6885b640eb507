"""Counters and histograms for hot paths, as a collector of prometheus_client.

prometheus_client's own take a lock and a dozen calls each time, for processes with threads. The services count on the
event loop alone: an attribute goes up.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

MAX_CHILDREN = 4096
"""Sets of labels of one metric that are kept at hand; looking one up beyond costs a little more."""


class Count:
    """One counter. It goes up by `value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Counts(Collector):
    """A family of counters.

    Args:
        name: Ends in `_total`.
        text: What is counted.
        labels: Names of the labels.
        registry: Where it is read.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry | None = REGISTRY
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._children: dict[tuple[str, ...], Count] = {}
        self.of = lru_cache(MAX_CHILDREN)(self._of)
        """The counter with these labels."""
        if registry is not None:
            registry.register(self)

    def _of(self, *labels: str) -> Count:
        return self._children.setdefault(labels, Count())

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, count in list(self._children.items()):
            family.add_metric(labels, count.value)
        yield family


class Duration:
    """One histogram of seconds."""

    __slots__ = ("_bounds", "counts", "total_s")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """How many fell into each bucket, and above the last."""
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Take one in."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.total_s += seconds


class Durations(Collector):
    """A family of histograms of seconds.

    Args:
        name: Ends in `_seconds`.
        text: What is measured.
        labels: Names of the labels.
        bounds: Upper bounds of the buckets, in seconds, in rising order.
        registry: Where it is read.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, tuple(bounds)
        self._children: dict[tuple[str, ...], Duration] = {}
        self.of = lru_cache(MAX_CHILDREN)(self._of)
        """The histogram with these labels."""
        if registry is not None:
            registry.register(self)

    def _of(self, *labels: str) -> Duration:
        return self._children.setdefault(labels, Duration(self._bounds))

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, duration in list(self._children.items()):
            buckets, so_far = [], 0
            for bound, count in zip((*self._bounds, float("inf")), duration.counts, strict=True):
                so_far += count
                buckets.append((str(float(bound)) if bound != float("inf") else "+Inf", so_far))
            family.add_metric(labels, buckets, duration.total_s)
        yield family
