"""What Prometheus is told: counted as it happens, and asked of the journal at each scrape.

No label holds personal data, and none can grow without limit: adapters and subscribers are
configured, outcomes and kinds are closed sets, and of channels, which an adapter may take from a
body, only so many are told apart. Naming: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import platform
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from itertools import accumulate
from typing import Final, Protocol

import attrs
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bridge.delivery import Delivery
from bridge.errors import JournalError
from bridge.journal.protocol import Health, Journal, SubscriberState
from bridge.journal.query import Query
from bridge.observer import Answer, Died, Received, Result, Tried

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_CHANNELS: Final = 32  # beyond so many, the others are one
_OTHERS: Final = "other"
# Seconds, from a disk that is idle to one that is nearly hopeless.
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Measured(Protocol):
    """Who is asked at each scrape: a `Bridge`."""

    @property
    def deliveries(self) -> Mapping[str, Delivery]:
        """The deliveries that run, by their subscribers' names."""
        ...

    @property
    def adapters(self) -> Mapping[str, object]:
        """The configured adapters by their names."""
        ...

    @property
    def journal(self) -> Journal:
        """The journal."""
        ...

    async def health(self) -> Health:
        """Return whether a callback would be taken now."""
        ...


@attrs.frozen(kw_only=True)
class _Reading:
    """How a subscriber stands at the moment of a scrape."""

    state: SubscriberState
    lag_seconds: float
    held_lanes: int


class Metrics:
    """A hook that counts, and that writes down what it counted."""

    def __init__(self) -> None:
        # Plain dicts on one event loop: the client library's own counters take locks.
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._events: Counter[tuple[str, ...]] = Counter()
        self._duplicates: Counter[tuple[str, ...]] = Counter()
        self._tries: Counter[tuple[str, ...]] = Counter()
        self._deaths: Counter[tuple[str, ...]] = Counter()
        self._appends = [0] * (len(_BUCKETS) + 1)
        self._append_seconds = 0.0
        self._channels: set[str] = set()

    def __call__(self, happening: Received | Tried | Died) -> None:
        """Count what happened; see `bridge.observer.Hook`."""
        if isinstance(happening, Died):
            self._deaths[happening.subscriber,] += 1
            return
        if isinstance(happening, Tried):
            self._tries[happening.subscriber, happening.result] += 1
            return
        adapter = happening.adapter
        self._requests[adapter, happening.answer] += 1
        seconds, appended = happening.append_seconds, happening.appended
        if seconds is not None:
            self._appends[bisect_left(_BUCKETS, seconds)] += 1
            self._append_seconds += seconds
        if appended is not None:
            for event in happening.events:
                channel = event.channel
                if channel not in self._channels:
                    channel = self._told_apart(channel)
                self._events[event.kind, channel] += 1
            self._duplicates[adapter,] += appended.duplicates

    def _told_apart(self, channel: str) -> str:
        if len(self._channels) >= _CHANNELS:
            return _OTHERS
        self._channels.add(channel)
        return channel

    def failures(self, subscriber: str) -> int:
        """Return how many tries of a subscriber have failed since the start."""
        return self._tries[subscriber, Result.FAILED] + self._tries[subscriber, Result.DEAD]

    async def render(self, bridge: Measured) -> bytes:
        """Return everything in Prometheus's text format, subscribers as far as they are known."""
        health = await bridge.health()
        try:
            readings: Sequence[_Reading] = await _readings(bridge)
        except JournalError:
            readings = ()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(
            _Scrape(
                (*self._counted(bridge.adapters, bridge.deliveries), *_standing(health, readings))
            )
        )
        return generate_latest(registry)

    def _counted(self, adapters: Iterable[str], subscribers: Iterable[str]) -> Iterator[Metric]:
        # From zero on, since what is first seen as 1 has not risen for Prometheus.
        requests: Counter[tuple[str, ...]] = Counter(
            {(adapter, each): 0 for adapter in adapters for each in Answer}
        )
        requests.update(self._requests)
        deaths: Counter[tuple[str, ...]] = Counter({(name,): 0 for name in subscribers})
        deaths.update(self._deaths)
        yield _counter(
            "bridge_requests",
            "Callbacks by adapter and by what became of them.",
            ("adapter", "outcome"),
            requests,
        )
        yield _counter(
            "bridge_events",
            "Events that came in callbacks and are kept, repeated ones included.",
            ("kind", "channel"),
            self._events,
        )
        yield _counter(
            "bridge_duplicates",
            "Events that were known already and were not published again.",
            ("adapter",),
            self._duplicates,
        )
        yield _counter(
            "bridge_delivery_tries",
            "Tries to hand an event to a subscriber; after a dead one no other follows.",
            ("subscriber", "result"),
            self._tries,
        )
        yield _counter(
            "bridge_task_deaths",
            "Tasks of the bridge's own that ended, and were replaced; any is a bug, or is "
            "somebody's doing who cancels what is not theirs.",
            ("subscriber",),
            deaths,
        )
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
    """What one scrape is told."""

    metrics: Sequence[Metric]

    def collect(self) -> Sequence[Metric]:
        """Return it."""
        return self.metrics


async def _readings(bridge: Measured) -> Sequence[_Reading]:
    readings: list[_Reading] = []
    for state in await bridge.journal.subscribers():
        delivery = bridge.deliveries.get(state.name)
        readings.append(
            _Reading(
                state=state,
                lag_seconds=await lag_seconds(bridge.journal, state),
                held_lanes=0 if delivery is None else delivery.held_lanes,
            )
        )
    return readings


async def lag_seconds(journal: Journal, state: SubscriberState) -> float:
    """Return for how long the oldest event that a subscriber has yet to look at has waited."""
    if not state.lag:
        return 0.0
    since = state.lagging_since
    if since is None:
        entries = await journal.search(Query(after=state.position, limit=1))
        if not entries:
            return 0.0
        since = entries[0].event.received_at.timestamp()
    return max(0.0, time.time() - since)


def _standing(health: Health, readings: Sequence[_Reading]) -> Iterator[Metric]:
    build = GaugeMetricFamily(
        "bridge_build_info", "What runs; always 1.", labels=("version", "python_version")
    )
    build.add_metric((metadata.version("incs-bridge"), platform.python_version()), 1)
    yield build
    yield GaugeMetricFamily(
        "bridge_ready", "1 where a callback would be taken now, else 0.", value=int(health.ready)
    )
    yield GaugeMetricFamily(
        "bridge_spool_active",
        "1 where events go into the spool, as the journal's servers are or were away, else 0.",
        value=int(health.spooled is not None),
    )
    yield GaugeMetricFamily(
        "bridge_spool_events", "Events that wait in the spool.", value=health.spooled or 0
    )
    for name, documentation, read in _GAUGES:
        gauge = GaugeMetricFamily(name, documentation, labels=("subscriber",))
        for reading in readings:
            gauge.add_metric((reading.state.name,), read(reading))
        yield gauge


_GAUGES: Final[Sequence[tuple[str, str, Callable[[_Reading], float]]]] = (
    (
        "bridge_subscriber_lag_events",
        "Events that a subscriber has yet to look at.",
        lambda reading: reading.state.lag,
    ),
    (
        "bridge_subscriber_lag_seconds",
        "For how long the oldest of these has waited.",
        lambda reading: reading.lag_seconds,
    ),
    (
        "bridge_subscriber_held_events",
        "Events that wait for their next try, or behind one that does.",
        lambda reading: reading.state.held,
    ),
    (
        "bridge_subscriber_held_lanes",
        "Conversations in which events are held.",
        lambda reading: reading.held_lanes,
    ),
    (
        "bridge_subscriber_dead_letters",
        "Events that a subscriber could not take, after the last of its tries.",
        lambda reading: reading.state.dead,
    ),
)


def _counter(
    name: str, documentation: str, labels: Sequence[str], counts: Counter[tuple[str, ...]]
) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family
