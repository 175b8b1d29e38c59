"""One OpenTelemetry trace for each callback: from the request to every attempt of each subscriber.

::

    callback whatsapp ─┬─ verify
                       ├─ parse
                       ├─ append
                       ├─ deliver crm          (a try of its own after each failure)
                       └─ deliver console

OpenTelemetry is imported when a `Tracing` is made; a bridge without one does no work for it. No
span holds personal data: no body, no text, no message of an exception.
https://opentelemetry.io/docs/specs/otel/trace/api/
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Final, Self, TypeAlias

from bridge.errors import ConfigurationError
from bridge.ingress import request_id
from bridge.model.masking import mask_phones_in
from bridge.observer import AppendDetails, Around, AttemptDetails, CallbackDetails, Observer
from bridge.threads import in_thread

_Attributes: TypeAlias = Mapping[str, str | int]

_SERVICE: Final = "incs-bridge"
_SERVICE_VARIABLES: Final = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES")
_EXPORTERS: Final = "opentelemetry_traces_exporter"  # the group of their entry points
_EXPORTER_VARIABLE: Final = "OTEL_TRACES_EXPORTER"
_OTLP: Final = "otlp_proto_http"


class Tracing(Observer):
    """Makes the spans; runs while the bridge does that it observes.

    `provider` is a `TracerProvider`, which its owner shuts down; by default the process's own.
    Raises `ConfigurationError` where OpenTelemetry is not installed.
    """

    def __init__(self, provider: object | None = None) -> None:
        self._trace = _imported("opentelemetry.trace")
        self._provider: Any = provider
        self._exporter: Any = None
        self._tracer: Any = None
        self._parents: dict[str, Any] = {}

    @classmethod
    def exporting(cls) -> Self:
        """Send spans where the environment's `OTEL_…` variables say, by OTLP unless told.

        https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
        Raises `ConfigurationError` where the SDK or the exporter is not installed.
        """
        tracing = cls()
        _imported("opentelemetry.sdk.trace.export")
        tracing._exporter = _exporter()
        return tracing

    async def __aenter__(self) -> Self:
        """Begin; the exporter's thread is started here."""
        if self._exporter is not None:
            self._provider = _provider(self._exporter())
        self._tracer = self._trace.get_tracer(
            "bridge", metadata.version("incs-bridge"), tracer_provider=self._provider
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send the remaining spans, which may take as long as the exporter's timeout."""
        if self._exporter is not None:
            await in_thread(self._provider.shutdown)

    # --- what is traced --------------------------------------------------------------------

    def callback(self, details: CallbackDetails, /) -> Around:
        """Trace a callback; the other spans are children of this one."""
        attributes = {
            "bridge.adapter": details.adapter,
            "bridge.request_id": request_id.current() or "",
        }
        name = f"callback {details.adapter}"
        return self._span(name, self._trace.SpanKind.SERVER, attributes)

    def verify(self, _: CallbackDetails, /) -> Around:
        """Trace the verifying."""
        return self._span("verify", self._trace.SpanKind.INTERNAL, {})

    def parse(self, _: CallbackDetails, /) -> Around:
        """Trace the parsing."""
        return self._span("parse", self._trace.SpanKind.INTERNAL, {})

    def append(self, details: AppendDetails, /) -> Around:
        """Trace the appending; the attempts to deliver these events join this trace."""
        parent = self._trace.get_current_span().get_span_context()
        for event in details.events:
            self._parents.setdefault(event.key, parent)
        if len(self._parents) > request_id.RECENT:
            request_id.forget_older(self._parents)
        attributes = {"bridge.events": len(details.events)}
        return self._span("append", self._trace.SpanKind.INTERNAL, attributes)

    def attempt(self, details: AttemptDetails, /) -> Around:
        """Trace an attempt in the trace of the event's callback."""
        event = details.event
        parent = self._parents.get(event.key)
        context = None
        if parent is not None:
            context = self._trace.set_span_in_context(self._trace.NonRecordingSpan(parent))
        attributes = {
            "bridge.subscriber": details.subscriber,
            "bridge.event.kind": event.kind,
            "bridge.event.key": mask_phones_in(event.key),
            "bridge.channel": event.channel,
        }
        name, kind = f"deliver {details.subscriber}", self._trace.SpanKind.CONSUMER
        return self._span(name, kind, attributes, context)

    @contextmanager
    def _span(
        self, name: str, kind: object, attributes: _Attributes, context: object = None
    ) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name,
            context=context,
            kind=kind,
            attributes=attributes,
            # An exception's words may hold what a body holds: its class has to do.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(self._trace.StatusCode.ERROR)
                raise


def _exporter() -> Any:  # noqa: ANN401 - a class of OpenTelemetry's
    name = os.environ.get(_EXPORTER_VARIABLE) or _OTLP
    if name == "otlp":
        name = _OTLP
    for entry_point in metadata.entry_points(group=_EXPORTERS, name=name):
        return entry_point.load()
    raise ConfigurationError(
        f"no exporter of traces is called {name!r}: pip install 'incs-bridge[otel]', "
        f"or name another in {_EXPORTER_VARIABLE}"
    )


def _provider(exporter: object) -> Any:  # noqa: ANN401 - a class of the SDK
    sdk = _imported("opentelemetry.sdk.trace")
    resources = _imported("opentelemetry.sdk.resources")
    # What is given here would override the environment.
    is_named = any(os.environ.get(variable) for variable in _SERVICE_VARIABLES)
    resource = resources.Resource.create({} if is_named else {"service.name": _SERVICE})
    provider = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)
    batches = _imported("opentelemetry.sdk.trace.export").BatchSpanProcessor(exporter)
    provider.add_span_processor(batches)
    return provider


def _imported(name: str) -> Any:  # noqa: ANN401 - a module that need not be installed
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            "tracing needs OpenTelemetry: pip install 'incs-bridge[otel]'"
        ) from error
