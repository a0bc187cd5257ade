"""Traces of requests, and logs, for an OpenTelemetry collector: OTLP over HTTP.

Where it is, what is sampled and the rest is set by the variables ``OTEL_...`` of its SDK.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import Scope

from streamnet.daemon.request_context import CURRENT_REQUEST, add_request_fields
from streamnet.version import __version__


@final
class Telemetry:
    """Sends spans and log records in the background; if it can't, they are dropped."""

    def __init__(self) -> None:
        own = {"service.name": "streamnet", "service.version": __version__}
        # What the variables OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes first.
        resource = Resource.create(own).merge(OTELResourceDetector().detect())
        self._spans = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._spans.get_tracer("streamnet", __version__)
        self._logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        self._propagator = TraceContextTextMapPropagator()
        self._handler = LoggingHandler(logger_provider=self._logs)
        self._handler.addFilter(add_request_fields)
        logging.getLogger("streamnet").addHandler(self._handler)

    @contextmanager
    def trace(self, scope: Scope, operation: str) -> Iterator[Callable[[int], None]]:
        """Trace a request, as part of the caller's trace; gives what notes its status."""
        parent = self._propagator.extract(dict(Headers(scope=scope)))
        with self._tracer.start_as_current_span(
            operation, parent, SpanKind.SERVER, {"http.request.method": scope["method"]}
        ) as span:

            def note(status: int) -> None:
                span.set_attribute("http.response.status_code", status)
                request = CURRENT_REQUEST.get()
                for name, value in ({} if request is None else request.fields).items():
                    span.set_attribute(f"streamnet.{name}", value)
                if status >= 500:
                    span.set_status(Status(StatusCode.ERROR))

            yield note

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        logging.getLogger("streamnet").removeHandler(self._handler)
        self._spans.shutdown()
        self._logs.shutdown()
