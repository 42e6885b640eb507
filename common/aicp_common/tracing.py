"""Traces: W3C Trace Context on every call, OpenTelemetry spans when an exporter is configured, nothing otherwise.

An exporter is configured by the variables of the OpenTelemetry specification: OTEL_EXPORTER_OTLP_ENDPOINT (or
OTEL_TRACES_EXPORTER=otlp or console). Without one no SDK is imported and a span is a copy of a string.
"""

import os
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_tracer: "Tracer | None" = None
_provider: "TracerProvider | None" = None


def is_traceparent(text: str) -> bool:
    """Whether `text` is a version 00 `traceparent`. Source: W3C Trace Context, section 3.2."""
    return _TRACEPARENT.fullmatch(text) is not None


def new_traceparent() -> str:
    """A trace that nobody records: its id is in the log lines all the same."""
    return f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-00"


def tracing_enabled() -> bool:
    """Whether spans are exported."""
    return _tracer is not None


def configure_tracing(service: str, instance: str) -> None:
    """Start the exporter that the environment names; without one, do nothing.

    Raises:
        ValueError: OTEL_TRACES_EXPORTER names an exporter that is not supported.
    """
    global _tracer, _provider
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "")
    if not wanted and any(
        os.environ.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    ):
        wanted = "otlp"
    if not wanted or wanted == "none":
        return
    if wanted not in ("otlp", "console"):
        raise ValueError(f"OTEL_TRACES_EXPORTER: was {wanted!r}; allowed: otlp, console, none")

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

    exporter: SpanExporter
    if wanted == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    else:
        exporter = ConsoleSpanExporter()
    resource = Resource.create({"service.name": f"aicp-{service}", "service.instance.id": instance})
    _provider = TracerProvider(resource=resource)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("aicp")


def shutdown_tracing() -> None:
    """Export what is left and stop."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


def span(
    name: str, traceparent: str, kind: Kind = "internal", attributes: Attributes | None = None
) -> AbstractContextManager[str]:
    """A span that is a child of `traceparent`; yields the `traceparent` that the calls inside must carry.

    Args:
        traceparent: The parent; empty where a trace begins, so that the sampler decides whether it is recorded.

    Without an exporter it yields the one it was given, or a new one. An exception that leaves the block marks the
    span as failed.
    """
    if _tracer is None:
        return nullcontext(traceparent or new_traceparent())
    return _span(_tracer, name, traceparent, kind, attributes)


@contextmanager
def _span(tracer: "Tracer", name: str, traceparent: str, kind: Kind, attributes: Attributes | None) -> Iterator[str]:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent}) if traceparent else None
    with tracer.start_as_current_span(
        name, context=parent, kind=trace.SpanKind[kind.upper()], attributes=attributes
    ) as current:
        context = current.get_span_context()
        yield f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
