"""The settings: their defaults, their limits, and how they are read from TOML.

Durations are seconds and sizes bytes; in TOML both may carry a unit (`"30s"`, `"4MiB"`).
Every mistake of a document is told at once, with file, line, key, what was found and what
would do.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

import attrs

from bridge import toml
from bridge.errors import BridgeError, ConfigurationError, Problem
from bridge.model import Direction
from bridge.reader import Reader
from bridge.signing import Network
from bridge.structure import Duration, Size
from bridge.wording import quoted, unknown

T = TypeVar("T")

EventKind: TypeAlias = Literal[
    "message",
    "status_change",
    "template_change",
    "consent_change",
    "typing",
    "notice",
    "unrecognized",
]
ContentKind: TypeAlias = Literal[
    "text",
    "media",
    "location",
    "contacts",
    "choice",
    "form",
    "reaction",
    "order",
    "template",
    "edit",
    "deletion",
    "system",
    "call_permission",
    "unsupported",
]

CONSOLE: Final = "console"
"""The subscriber that is always there: it shows events in the terminal."""

_MINUTE: Final = 60.0
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_MIB: Final = 1024 * 1024
_LAST_PORT: Final = 65535

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_FUNCTION: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def _between(low: float, high: float = math.inf) -> Callable[[object, object, float], None]:
    """Return a validator of a range; both ends belong to it."""
    expected = f"of at least {low}" if high == math.inf else f"from {low} to {high}"

    def check(_instance: object, _attribute: object, value: float) -> None:
        if not low <= value <= high:
            raise ConfigurationError(f"expected a number {expected}, found {value}")

    return check


def _matching(pattern: re.Pattern[str], expected: str) -> Callable[[object, object, str], None]:
    """Return a validator of a string's form."""

    def check(_instance: object, _attribute: object, value: str) -> None:
        if not pattern.fullmatch(value):
            raise ConfigurationError(f"expected {expected}, found {quoted(value)}")

    return check


@attrs.frozen(kw_only=True)
class ServerSettings:
    """The HTTP server of `bridge serve`.

    An adapter's callbacks arrive below `prefix`, at its table's name. `X-Forwarded-For` is
    believed from `trusted_proxies` only. A request's head must arrive within `header_timeout`,
    and then its body within `body_timeout`; otherwise the connection is closed. When the server
    is told to stop, `drain_timeout` is what it gives the requests and deliveries under way.
    """

    host: str = "127.0.0.1"
    port: int = attrs.field(default=8080, validator=_between(0, _LAST_PORT))
    prefix: str = attrs.field(
        default="/callbacks",
        validator=_matching(_PREFIX, 'a path such as "/callbacks" without a slash at its end'),
    )
    max_body: Size = attrs.field(default=4 * _MIB, validator=_between(1))
    trusted_proxies: tuple[Network, ...] = ()
    header_timeout: Duration = attrs.field(default=10.0, validator=_between(0.001))
    body_timeout: Duration = attrs.field(default=10.0, validator=_between(0.001))
    keepalive_timeout: Duration = attrs.field(default=75.0, validator=_between(0))
    max_connections: int = attrs.field(default=1000, validator=_between(1))
    drain_timeout: Duration = attrs.field(default=20.0, validator=_between(0))


@attrs.frozen(kw_only=True)
class JournalSettings:
    """Where events are made durable, and for how long they are kept.

    `path` is relative to the directory of the settings' file. What every subscriber has had
    is dropped after `keep`, or earlier where `max_size` (0: no limit) is reached; what one of
    them has not had stays until `absolute_limit`. With less than `min_free_space` on the disk
    the bridge reports that it is not ready.
    """

    engine: Literal["memory", "sqlite"] = "sqlite"
    path: Path = Path("bridge.db")
    keep: Duration = attrs.field(default=8 * _DAY, validator=_between(0))
    max_size: Size = attrs.field(default=0, validator=_between(0))
    absolute_limit: Duration = attrs.field(default=30 * _DAY, validator=_between(0))
    min_free_space: Size = attrs.field(default=64 * _MIB, validator=_between(0))

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
class DeliverySettings:
    """How events reach a subscriber.

    `concurrency` is how many conversations it works on at once, `timeout` how long one try may
    take. After a failure come up to `tries` in all, the first pause being `first_delay`, each
    one after it twice as long up to `max_delay`, and each varied by the share `jitter`.
    """

    concurrency: int = attrs.field(default=16, validator=_between(1))
    timeout: Duration = attrs.field(default=60.0, validator=_between(0.001))
    tries: int = attrs.field(default=10, validator=_between(1))
    first_delay: Duration = attrs.field(default=1.0, validator=_between(0))
    max_delay: Duration = attrs.field(default=10 * _MINUTE, validator=_between(0))
    jitter: float = attrs.field(default=0.2, validator=_between(0.0, 1.0))


@attrs.frozen(kw_only=True)
class AdapterTable:
    """What every adapter's table may hold beside the adapter's own settings.

    `type` names the installed adapter; by default that is the table's own name. Callbacks from
    outside `allow_networks` are refused; without any network, they may come from everywhere.
    """

    type: str | None = None
    allow_networks: tuple[Network, ...] = ()


@attrs.frozen(kw_only=True)
class AdapterEntry(AdapterTable):
    """A configured adapter.

    `name` is its path on the server and the `source` of its events. `settings` is an instance
    of the adapter's own class.
    """

    name: str
    type: str
    settings: Any


@attrs.frozen(kw_only=True)
class SubscriberTable:
    """What a subscriber's table may hold beside the settings of its delivery.

    `use` is `console` or the function that receives the events. It gets those that all the
    filters let through; `events` lists kinds, and none means all of them. Where it has never
    run before, `start` says whether it begins with what comes from now on or with the oldest
    event of the journal.
    """

    use: str = attrs.field()
    events: tuple[EventKind, ...] = ()
    channel: str | None = None
    account: str | None = None
    direction: Direction | None = None
    content: ContentKind | None = None
    start: Literal["end", "beginning"] = "end"
    show_personal_data: bool = attrs.field(default=False)

    @use.validator
    def _check_use(self, _attribute: object, value: str) -> None:
        if value != CONSOLE and not _FUNCTION.fullmatch(value):
            raise ConfigurationError(
                f'expected "{CONSOLE}" or "package.module:function", found {quoted(value)}'
            )

    @show_personal_data.validator
    def _check_show_personal_data(self, _attribute: object, value: object) -> None:
        if value and self.use != CONSOLE:
            raise ConfigurationError(f'show_personal_data is for use = "{CONSOLE}" only')


@attrs.frozen(kw_only=True)
class SubscriberEntry(SubscriberTable):
    """A configured subscriber; `name` is what the journal remembers its progress under."""

    name: str
    delivery: DeliverySettings = DeliverySettings()


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set. `path` is the file they were read from, if they were.

    `delivery` holds the defaults of all subscribers; each entry has its own in full.
    `document` is what they were read from, for `locate` to look things up.
    """

    server: ServerSettings = ServerSettings()
    journal: JournalSettings = JournalSettings()
    log: LogSettings = LogSettings()
    delivery: DeliverySettings = DeliverySettings()
    adapters: Mapping[str, AdapterEntry] = attrs.field(factory=dict)
    subscribers: Mapping[str, SubscriberEntry] = attrs.field(factory=dict)
    path: Path | None = None
    document: toml.Document | None = attrs.field(default=None, eq=False, repr=False)

    def locate(self, adapter: str, error: ConfigurationError) -> ConfigurationError:
        """Return what an adapter says against its settings, with the place of each key.

        An adapter knows its own fields only, and raises as it is made, after the reading.
        """
        problems = []
        for problem in error.problems:
            key = ".".join(filter(None, ("adapters", adapter, problem.key)))
            file = self.document.file if self.document else None
            line = self.document.line_of(key) if self.document else None
            problems.append(Problem(key, problem.message, file, line))
        return ConfigurationError(tuple(problems))


_TABLES: Final = frozenset({"server", "journal", "log", "delivery", "adapters", "subscribers"})


def load(
    path: Path | str,
    adapter_settings: Callable[[str], type | None],
    environ: Mapping[str, str] = os.environ,
    *,
    installed: Iterable[str] = (),
) -> Settings:
    """Read the settings from a file.

    `adapter_settings` gives the settings class of an adapter by its type, or None where no such
    adapter is installed; `installed` names those that are. Relative paths in the file start
    from its directory. Raises `ConfigurationError` with everything that is wrong.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = Problem("", f"cannot be read: {error.strerror}", file=str(path))
        raise ConfigurationError((problem,)) from error
    except UnicodeDecodeError:
        problem = Problem("", "cannot be read: not text in UTF-8", file=str(path))
        raise ConfigurationError((problem,)) from None
    return loads(text, adapter_settings, environ, installed=installed, path=path)


def loads(
    text: str,
    adapter_settings: Callable[[str], type | None],
    environ: Mapping[str, str] = os.environ,
    *,
    installed: Iterable[str] = (),
    path: Path | None = None,
) -> Settings:
    """Read the settings from a text, as `load` does; `path` says which file it came from."""
    document = toml.parse(text, file=None if path is None else str(path))
    directory = Path() if path is None else path.parent
    reader = Reader(document, environ, directory)
    for key in reader.values.keys() - _TABLES:
        reader.report((key,), unknown("key", key, _TABLES))
    journal = _section(reader, "journal", JournalSettings)
    delivery = _section(reader, "delivery", DeliverySettings)
    settings = Settings(
        server=_section(reader, "server", ServerSettings),
        journal=attrs.evolve(journal, path=directory / journal.path),
        log=_section(reader, "log", LogSettings),
        delivery=delivery,
        adapters=_adapters(reader, adapter_settings, tuple(installed)),
        subscribers=_subscribers(reader, delivery),
        path=path,
        document=document,
    )
    reader.finish()
    return settings


def _section(reader: Reader, name: str, cls: type[T]) -> T:
    """Read a table of the root; the defaults stand in for one that is wrong, to go on reading."""
    return reader.read(reader.table(name), cls, (name,)) or cls()


def _adapters(
    reader: Reader, adapter_settings: Callable[[str], type | None], installed: tuple[str, ...]
) -> dict[str, AdapterEntry]:
    entries = {}
    for name, values in reader.tables("adapters"):
        path = ("adapters", name)
        _check_name(reader, path)
        common, own = _split(values, _keys(AdapterTable))
        table = reader.read(common, AdapterTable, path)
        if table is None:
            continue
        type_name = table.type or name
        try:
            cls = adapter_settings(type_name)
        except BridgeError as error:
            reader.report(path, str(error))
            continue
        if cls is None:
            key = path if table.type is None else (*path, "type")
            reader.report(key, unknown("adapter", type_name, installed))
            continue
        settings = reader.read(own, cls, path, beside=_keys(AdapterTable))
        entries[name] = AdapterEntry(
            name=name,
            type=type_name,
            allow_networks=table.allow_networks,
            settings=settings,
        )
    return entries


def _subscribers(reader: Reader, defaults: DeliverySettings) -> dict[str, SubscriberEntry]:
    entries = {}
    for name, values in reader.tables("subscribers"):
        path = ("subscribers", name)
        _check_name(reader, path)
        overrides, own = _split(values, _keys(DeliverySettings))
        table = reader.read(own, SubscriberTable, path, beside=_keys(DeliverySettings))
        delivery = reader.read(overrides, DeliverySettings, path)
        if table is None or delivery is None:
            continue
        entries[name] = SubscriberEntry(
            **attrs.asdict(table, recurse=False),
            name=name,
            delivery=attrs.evolve(defaults, **{key: getattr(delivery, key) for key in overrides}),
        )
    return entries


def _check_name(reader: Reader, path: tuple[str, str]) -> None:
    # A name stands in a URL's path, in metrics and in the journal.
    if not _NAME.fullmatch(path[1]):
        reader.report(path, 'expected a name of a-z, 0-9, "_" and "-", beginning with a-z or 0-9')


def _keys(cls: type[attrs.AttrsInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))


def _split(
    table: Mapping[str, Any], keys: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the part of a table that has these keys, and the rest."""
    part = {key: value for key, value in table.items() if key in keys}
    return part, {key: value for key, value in table.items() if key not in keys}
