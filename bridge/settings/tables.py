"""The settings: their defaults and their limits.

What each one means stands in `config.example.toml`, which the reference shows and `bridge config`
prints. Durations are seconds and sizes bytes; in TOML both may have a unit (`"30s"`, `"4MiB"`).
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

import attrs

from bridge.adapter.signing import Network, Secret, secrets_of
from bridge.errors import ConfigurationError, Problem
from bridge.model.events import Direction, Origin
from bridge.model.kinds import ContentKind, EventKind
from bridge.settings import toml
from bridge.settings.admin import AdminSettings
from bridge.settings.structure import GIVEN, Duration, Size, between, matching
from bridge.settings.wording import quoted, shown

Stale: TypeAlias = Literal["mark", "unrecognized"]
"""What becomes of an event that is dated too far back: it is marked, or kept as unrecognized."""

CONSOLE: Final = "console"
"""The subscriber that shows events in the terminal."""

WEBHOOK: Final = "webhook"
"""The subscriber that posts events to a URL."""

MEDIA: Final = "media"
"""The subscriber that keeps the files of messages."""

_ONLY_FOR: Final = {
    "show_personal_data": (CONSOLE,),
    "folder": (MEDIA,),
    "url": (WEBHOOK, MEDIA),
    "secret": (WEBHOOK,),
}

_DAY: Final = 24 * 3600.0
_MIB: Final = 1024 * 1024

_URL: Final = re.compile(r"https?://[^/\s]+\S*")
_KEY_SIZES: Final = range(24, 65)  # bytes
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_FUNCTION: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@runtime_checkable
class SelfCritical(Protocol):
    """Settings of an engine or an adapter that know what is valid in them, and unsafe."""

    def doubts(self) -> Iterable[Problem]:
        """Return the warnings of `bridge check`; their keys are those of the class."""
        ...


@attrs.frozen(kw_only=True)
class ServerSettings:
    """The HTTP server of `bridge serve`.

    A client that does not read its responses for `body_timeout` is disconnected; where there are
    too many connections, the one that has been idle longest is. Every body may take 64 kB beside
    what `max_bodies` bounds.
    """

    host: str = "127.0.0.1"
    port: int = attrs.field(default=8080, validator=between(0, 65535))
    prefix: str = attrs.field(
        default="/callbacks",
        validator=matching(_PREFIX, 'a path such as "/callbacks" without a slash at its end'),
    )
    max_body: Size = attrs.field(default=4 * _MIB, validator=between(1))
    trusted_proxies: tuple[Network, ...] = ()
    header_timeout: Duration = attrs.field(default=10.0, validator=between(0.001))
    body_timeout: Duration = attrs.field(default=10.0, validator=between(0.001))
    keepalive_timeout: Duration = attrs.field(default=75.0, validator=between(0))
    max_connections: int = attrs.field(default=1000, validator=between(1))
    max_connections_per_peer: int = attrs.field(default=500, validator=between(1))
    max_bodies: Size = attrs.field(default=64 * _MIB, validator=between(0))
    drain_timeout: Duration = attrs.field(default=20.0, validator=between(0, _DAY))


@attrs.frozen
class NoSettings:
    """The settings of an engine that has none of its own."""


@attrs.frozen(kw_only=True)
class JournalSettings:
    """Where events are made durable, and for how long; not each engine needs all of it.

    `own` is an instance of the engine's settings class, read from `[journal.ENGINE]`.
    """

    engine: str = "sqlite"
    path: Path = Path("bridge.db")
    keep: Duration = attrs.field(default=8 * _DAY, validator=between(0))
    max_size: Size = attrs.field(default=0, validator=between(0))
    absolute_limit: Duration = attrs.field(default=30 * _DAY, validator=between(0))
    min_free_space: Size = attrs.field(default=64 * _MIB, validator=between(0))
    own: Any = attrs.field(default=NoSettings(), metadata=GIVEN)

    def __attrs_post_init__(self) -> None:
        """Refuse limits that contradict each other."""
        if self.absolute_limit < self.keep:
            raise ConfigurationError("absolute_limit is shorter than keep")


@attrs.frozen(kw_only=True)
class LogSettings:
    """What is logged and how; `auto` is `console` in a terminal, and `json` elsewhere."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


@attrs.frozen(kw_only=True)
class TracingSettings:
    """Whether spans are sent; where to, the environment's `OTEL_…` variables say."""

    enabled: bool = False


@attrs.frozen(kw_only=True)
class DeliverySettings:
    """How events reach a subscriber."""

    concurrency: int = attrs.field(default=16, validator=between(1))
    timeout: Duration = attrs.field(default=60.0, validator=between(0.001))
    tries: int = attrs.field(default=10, validator=between(1))
    first_delay: Duration = attrs.field(default=1.0, validator=between(0))
    max_delay: Duration = attrs.field(default=600.0, validator=between(0))
    jitter: float = attrs.field(default=0.2, validator=between(0.0, 1.0))


@attrs.frozen(kw_only=True)
class OutboxSettings:
    """How messages go out to the providers."""

    concurrency: int = attrs.field(default=64, validator=between(1))
    connect_timeout: Duration = attrs.field(default=10.0, validator=between(0.001))
    timeout: Duration = attrs.field(default=30.0, validator=between(0.001))
    expires: Duration = attrs.field(default=_DAY, validator=between(0))
    in_doubt: Literal["send", "fail"] = "send"
    doubt: Duration = attrs.field(default=20.0, validator=between(0))
    pause_for_agents: Duration | None = attrs.field(default=None, validator=between(1, 7 * _DAY))


@attrs.frozen(kw_only=True)
class PaceSettings:
    """How fast messages go out, where a provider lets you send at another pace than others.

    What is not given is as the provider documents it; `inf` and 0 lift a limit.
    """

    rate: float | None = attrs.field(default=None, validator=between(0.001))
    pair_every: Duration | None = attrs.field(default=None, validator=between(0))
    pair_burst: float | None = attrs.field(default=None, validator=between(1))


@attrs.frozen(kw_only=True)
class AdapterEntry:
    """A configured adapter: what its table may hold beside the adapter's own settings.

    `name` is its path on the server and the `source` of its events. `settings` is an instance
    of the adapter's own class.
    """

    name: str = attrs.field(metadata=GIVEN)
    settings: Any = attrs.field(metadata=GIVEN)
    type: str
    allow_networks: tuple[Network, ...] = ()
    domain: str | None = None
    believe_unsigned: bool = False
    max_age: Duration | None = attrs.field(default=None, validator=between(0))
    stale: Stale = "mark"
    pace: Mapping[str, PaceSettings] = attrs.field(factory=dict)
    accounts: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class SubscriberEntry:
    """A configured subscriber; `name` is what the journal remembers its progress under.

    It gets the events that all filters let through; an empty one lets everything through. A secret
    is base64 of 24 to 64 random bytes, with `whsec_` before it or not.
    """

    name: str = attrs.field(metadata=GIVEN)
    delivery: DeliverySettings = attrs.field(default=DeliverySettings(), metadata=GIVEN)
    use: str = attrs.field()
    events: tuple[EventKind, ...] = ()
    channel: str | None = None
    account: str | None = None
    source: str | None = None
    domain: str | None = None
    completions: bool = False
    transaction: bool = False
    owned: bool | Literal["any"] | None = None
    when_paused: bool | None = None
    direction: Direction | None = None
    origin: Origin | None = None
    content: tuple[ContentKind, ...] = ()
    start: Literal["end", "beginning"] = "end"
    gather: Duration | None = None
    show_personal_data: bool = False
    folder: Path | None = None
    url: str | None = attrs.field(default=None, repr=False)
    secret: tuple[Secret, ...] = attrs.field(default=(), converter=secrets_of, repr=False)

    @use.validator
    def _check_use(self, _attribute: object, value: str) -> None:
        if value not in (CONSOLE, WEBHOOK, MEDIA) and not _FUNCTION.fullmatch(value):
            raise ConfigurationError(
                f'expected "{CONSOLE}", "{WEBHOOK}", "{MEDIA}" or "package.module:function", '
                f"found {shown(value)}"
            )
        if value.startswith("bridge:"):
            raise ConfigurationError(
                "`bridge` is this package: a file of yours that is called bridge.py needs another "
                "name"
            )

    def __attrs_post_init__(self) -> None:
        """Refuse what does not go with `use`, and what is missing for it."""
        if problems := tuple(Problem(*mistake) for mistake in self._mistakes()):
            raise ConfigurationError(problems)

    def _mistakes(self) -> Iterator[tuple[str, str]]:
        for key, uses in _ONLY_FOR.items():
            if self.use not in uses and getattr(self, key) not in (None, (), False):
                yield key, f"{key} is for use = {' or '.join(map(quoted, uses))} only"
        folder, url = self.folder, self.url
        if self.use == WEBHOOK:
            if url is None:
                yield "url", "is required: where a webhook posts to"
            elif not _URL.fullmatch(url):
                yield "url", "expected an address such as https://crm.example.com/events"
            if not self.secret:
                yield "secret", "is required: what a webhook is signed with"
            elif not all(_is_signing_secret(each.reveal()) for each in self.secret):
                told = "expected base64 of 24 to 64 random bytes"
                yield "secret", f"{told}, as `openssl rand -base64 32` gives"
        elif self.use == MEDIA:
            if folder is None and url is None:
                yield "folder", "is required: where files are kept, or a url"
            if folder is not None and ":/" in str(folder):
                yield "folder", "expected a path; what has a scheme is a url"
            if folder is not None and url is not None:
                yield "url", "files are kept either in a folder or at a url"
            elif url is not None and "://" not in url:
                yield "url", 'expected such as "s3://bucket/files"; a path is a folder'


def _is_signing_secret(text: str) -> bool:
    """Return whether the text is a symmetric secret of Standard Webhooks."""
    try:
        key = b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        return False
    return len(key) in _KEY_SIZES


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set. `path` is the file they were read from, if they were.

    `delivery` holds the defaults of all subscribers; each entry has its own in full.
    `document` is what they were read from, for `locate` to look things up.
    """

    server: ServerSettings = ServerSettings()
    admin: AdminSettings = attrs.field(factory=AdminSettings)
    journal: JournalSettings = JournalSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    delivery: DeliverySettings = DeliverySettings()
    outbox: OutboxSettings = OutboxSettings()
    adapters: Mapping[str, AdapterEntry] = attrs.field(factory=dict)
    subscribers: Mapping[str, SubscriberEntry] = attrs.field(factory=dict)
    path: Path | None = attrs.field(default=None, metadata=GIVEN)
    document: toml.Document | None = attrs.field(default=None, eq=False, repr=False, metadata=GIVEN)

    def locate(self, table: str, error: ConfigurationError) -> tuple[Problem, ...]:
        """Return the problems that a table's object found, which names its own keys only.

        They have the keys and lines of the document; the table is written as `adapters.incs`.
        """
        document = self.document or toml.Document(value={}, text="")
        return tuple(
            document.problem(".".join(filter(None, (table, problem.key))), problem.message)
            for problem in error.problems
        )
