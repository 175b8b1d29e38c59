"""Metrics for Prometheus: counters of this process, and gauges of the journal at each scrape.

No label holds personal data, and the values of each are bounded: adapters and subscribers are
configured, outcomes and kinds are closed sets, and channels, which an adapter may take from a
body, are counted as one beyond a limit. Naming: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import platform
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from importlib import metadata
from itertools import accumulate
from operator import attrgetter
from typing import Final

import attrs
from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bridge.errors import BodyRefused, JournalError, MalformedBody, MethodRefused, NotAuthentic
from bridge.journal.protocol import Health
from bridge.observer import (
    ACTIONS,
    After,
    AppendDetails,
    Around,
    AttemptDetails,
    CallbackDetails,
    Observer,
    OperationDetails,
    Result,
)
from bridge.ops.operators import Operators
from bridge.ops.results import Served

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_CHANNELS: Final = 32  # beyond so many, the others are one
_OTHERS: Final = "other"
_REASONS: Final = 32


class CallbackOutcome(StrEnum):
    """What became of a callback."""

    ACCEPTED = "accepted"
    NOT_AUTHENTIC = "not_authentic"
    MALFORMED = "malformed"
    METHOD_REFUSED = "method_refused"
    BODY_REFUSED = "body_refused"
    NOT_STORED = "not_stored"


_ACCEPTED: Final = CallbackOutcome.ACCEPTED
_JOURNAL: Final = "(journal)"  # in the place of a subscriber, none of which has such a name
# Seconds, from a disk that is idle to one that is nearly hopeless.
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


_COUNTERS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "requests": ("Callbacks by adapter and by what became of them.", ("adapter", "outcome")),
    "events": (
        "Events that came in callbacks and are kept, repeated ones included.",
        ("kind", "channel"),
    ),
    "duplicates": ("Events that were known already and were not published again.", ("adapter",)),
    "delivery_tries": (
        "Tries to hand an event to a subscriber; after a dead one no other follows.",
        ("subscriber", "result"),
    ),
    "task_deaths": (
        (
            "Tasks of the bridge's own that ended and were replaced: a bug, or code that cancels "
            "tasks which are not its own."
        ),
        ("subscriber",),
    ),
    "operations": (
        "What operators changed, took out or were refused (a request), and what became of it.",
        ("action", "outcome"),
    ),
}


def _outcome_of(error: BaseException) -> CallbackOutcome:
    match error:
        case NotAuthentic():
            return CallbackOutcome.NOT_AUTHENTIC
        case MalformedBody():
            return CallbackOutcome.MALFORMED
        case MethodRefused():
            return CallbackOutcome.METHOD_REFUSED
        case BodyRefused():
            return CallbackOutcome.BODY_REFUSED
        case _:
            return CallbackOutcome.NOT_STORED


@attrs.define
class Source:
    """The callbacks of one adapter: when the last was taken, how many were refused, and why.

    Times are seconds since the epoch. Beyond 32 reasons, all others count as one.
    """

    accepted_at: float | None = None
    refused_at: float | None = None
    refusals: Counter[str] = attrs.field(factory=Counter)

    def note(self, error: BaseException | None) -> None:
        """Count a callback that was taken or refused."""
        if error is None:
            self.accepted_at = time.time()
            return
        self.refused_at = time.time()
        # Where it is malformed, the text says the place in the body, which differs each time.
        reason = str(error) if isinstance(error, NotAuthentic) else _outcome_of(error).value
        is_new = reason not in self.refusals and len(self.refusals) >= _REASONS
        self.refusals[_OTHERS if is_new else reason] += 1


class Metrics(Observer):
    """Counts what observers are told, and renders it for Prometheus."""

    def __init__(self) -> None:
        # Plain dicts on one event loop: the client library's own counters take locks.
        self._counts: Mapping[str, Counter[tuple[str, ...]]] = {
            name: Counter() for name in _COUNTERS
        }
        self._appends = [0] * (len(_BUCKETS) + 1)
        self._append_seconds = 0.0
        self._channels: set[str] = set()
        self._sources: defaultdict[str, Source] = defaultdict(Source)

    def callback(self, details: CallbackDetails, /) -> Around:
        """Count a callback by its outcome, when it ends."""
        return After(partial(self._taken, details.adapter))

    def _taken(self, adapter: str, error: BaseException | None) -> None:
        outcome = _ACCEPTED if error is None else _outcome_of(error)
        self._counts["requests"][adapter, outcome] += 1
        self._sources[adapter].note(error)

    def append(self, details: AppendDetails, /) -> Around:
        """Count appended events, and observe how long the append takes."""
        return After(partial(self._appended, details, time.perf_counter()))

    def _appended(self, details: AppendDetails, began: float, _: BaseException | None) -> None:
        seconds = time.perf_counter() - began
        self._appends[bisect_left(_BUCKETS, seconds)] += 1
        self._append_seconds += seconds
        if details.appended is None:
            return
        for event in details.events:
            channel = event.channel
            if channel not in self._channels:
                channel = self._told_apart(channel)
            self._counts["events"][event.kind, channel] += 1
        self._counts["duplicates"][details.adapter,] += details.appended.duplicates

    def attempt(self, details: AttemptDetails, /) -> Around:
        """Count an attempt by its outcome, when it ends."""
        return After(partial(self._attempted, details))

    def _attempted(self, details: AttemptDetails, _: BaseException | None) -> None:
        if details.result is not None:
            self._counts["delivery_tries"][details.subscriber, details.result] += 1

    def died(self, subscriber: str, /) -> Around:
        """Count a task of the bridge's own that ended."""
        self._counts["task_deaths"][subscriber,] += 1
        return None

    def operation(self, details: OperationDetails, /) -> Around:
        """Count an operation by its outcome, when it ends."""
        return After(partial(self._operated, details))

    def _operated(self, details: OperationDetails, error: BaseException | None) -> None:
        self._counts["operations"][details.action, details.outcome(error)] += 1

    def _told_apart(self, channel: str) -> str:
        if len(self._channels) >= _CHANNELS:
            return _OTHERS
        self._channels.add(channel)
        return channel

    def source(self, adapter: str) -> Source:
        """Return the callbacks of an adapter since the start."""
        return self._sources.get(adapter, Source())

    def failures(self, subscriber: str) -> int:
        """Return how many tries of a subscriber have failed since the start."""
        tries = self._counts["delivery_tries"]
        return tries[subscriber, Result.FAILED] + tries[subscriber, Result.DEAD]

    async def render(self, operators: Operators) -> bytes:
        """Return all metrics in Prometheus's text format; `subscribers` may be unknown."""
        health = await operators.health()
        try:
            served = await operators.subscribers()
        except JournalError:
            served = ()
        counted = self._counted(operators.adapters, [each.state.name for each in served], health)
        return generate_latest(_Scrape((*counted, *_standing(health, served))))

    def _counted(
        self, adapters: Iterable[str], subscribers: Iterable[str], health: Health
    ) -> Iterator[Metric]:
        # From zero on, since what is first seen as 1 has not risen for Prometheus.
        known: Mapping[str, dict[tuple[str, ...], int]] = {
            "requests": {(adapter, each): 0 for adapter in adapters for each in CallbackOutcome},
            "task_deaths": {**{(name,): 0 for name in subscribers}, (_JOURNAL,): health.deaths},
            "operations": {
                **{(action, outcome): 0 for action in ACTIONS for outcome in ("done", "failed")},
                ("request", "refused"): 0,
            },
        }
        for name, (documentation, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(f"bridge_{name}", documentation, labels=labels)
            for values, count in {**known.get(name, {}), **self._counts[name]}.items():
                counter.add_metric(values, count)
            yield counter
        append = HistogramMetricFamily(
            "bridge_append_seconds",
            "Time until the journal had made a callback's events durable, or had failed to.",
        )
        bounds = (*map(str, _BUCKETS), "+Inf")
        append.add_metric(
            (), list(zip(bounds, accumulate(self._appends), strict=True)), self._append_seconds
        )
        yield append


@attrs.frozen(eq=False)
class _Scrape(Collector):
    """The gauges of one scrape."""

    metrics: Sequence[Metric]

    def collect(self) -> Sequence[Metric]:
        """Yield the gauges."""
        return self.metrics


def _standing(health: Health, subscribers: Sequence[Served]) -> Iterator[Metric]:
    build = GaugeMetricFamily(
        "bridge_build_info", "What runs; always 1.", labels=("version", "python_version")
    )
    build.add_metric((metadata.version("incs-bridge"), platform.python_version()), 1)
    yield build
    for name, documentation, value in (
        ("ready", "1 where a callback would be taken now, else 0.", health.ready),
        (
            "spool_active",
            "1 where events go into the spool, as the journal's servers are or were away, else 0.",
            health.spooled is not None,
        ),
        ("spool_events", "Events that wait in the spool.", health.spooled or 0),
        (
            "journal_set_aside_files",
            "Damaged or replaced journals that lie beside the journal, and that nobody moved away.",
            health.set_aside,
        ),
    ):
        yield GaugeMetricFamily(f"bridge_{name}", documentation, value=int(value))
    yield CounterMetricFamily(
        "bridge_journal_losses",
        "How often the journal's files were lost or replaced, or its servers lost what was stored.",
        value=health.losses,
    )
    for name, attribute, documentation in _GAUGES:
        gauge = GaugeMetricFamily(
            f"bridge_subscriber_{name}", documentation, labels=("subscriber",)
        )
        for subscriber in subscribers:
            gauge.add_metric((subscriber.state.name,), attrgetter(attribute)(subscriber))
        yield gauge


_GAUGES: Final[Sequence[tuple[str, str, str]]] = (
    ("lag_events", "state.lag", "Events that a subscriber has yet to look at."),
    ("lag_seconds", "lag_seconds", "For how long the oldest of these has waited."),
    ("held_events", "state.held", "Events that wait for their next try, or behind one that does."),
    ("held_lanes", "held_lanes", "Conversations in which events are held."),
    (
        "dead_letters",
        "state.dead",
        "Events that a subscriber could not take, after the last of its tries.",
    ),
)
