"""What is installed: adapters, and the engines of journals.

Adapters are the entry points of the group `bridge.adapters`, and engines those of
`bridge.journals`; the built-in ones are found in the same way as anyone else's.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from bridge import settings as tables
from bridge.errors import ConfigurationError, Problem, UnknownAdapter
from bridge.settings.wording import unknown

if TYPE_CHECKING:
    from bridge.adapter import Adapter, AdapterClass
    from bridge.journal.engines import EngineModule, JournalClass
    from bridge.journal.protocol import Journal

ADAPTERS: Final = "bridge.adapters"
JOURNALS: Final = "bridge.journals"
_LOAD: Final[Callable[[metadata.EntryPoint], Any]] = metadata.EntryPoint.load


@attrs.frozen(kw_only=True)
class Installed:
    """An adapter that some distribution offers; nothing of it is imported before `load`."""

    name: str
    entry_points: tuple[metadata.EntryPoint, ...] = attrs.field(repr=False)

    @property
    def distribution(self) -> str:
        """The name of what offers it."""
        return _distribution(self.entry_points[0]).name

    @property
    def version(self) -> str:
        """The version of what offers it."""
        return _distribution(self.entry_points[0]).version

    def load(self) -> AdapterClass:
        """Import the adapter's class.

        Raises `ConfigurationError` where it cannot be imported, is no adapter, or is offered by
        several distributions that differ: which one is meant nobody could tell.
        """
        candidate = _imported(f"adapter {self.name}", self.entry_points, _LOAD)
        if (fault := _fault(candidate)) is not None:
            raise ConfigurationError(_unusable(f"adapter {self.name}", self.entry_points[0], fault))
        return cast("AdapterClass", candidate)

    def settings_class(self) -> type[Any]:
        """Import the adapter, and return the class of its settings; raises as `load` does."""
        return self.load().Settings


def adapters() -> Mapping[str, Installed]:
    """Return every adapter that is offered, by name; a broken one is listed like any other."""
    return {
        name: Installed(name=name, entry_points=entries)
        for name, entries in _offers(ADAPTERS).items()
    }


def _offers(group: str) -> Mapping[str, tuple[metadata.EntryPoint, ...]]:
    offers: dict[str, list[metadata.EntryPoint]] = {}
    for entry_point in _entry_points(tuple(sys.path))(group=group):
        same_name = offers.setdefault(entry_point.name, [])
        # One distribution may be found twice, as a source tree and as what was built from it.
        if all(entry_point.value != other.value for other in same_name):
            same_name.append(entry_point)
    return {name: tuple(offers[name]) for name in sorted(offers)}


@cache
def _entry_points(_path: tuple[str, ...]) -> Callable[..., metadata.EntryPoints]:
    """Return what selects from those of the path: each distribution has to be opened for it."""
    return metadata.entry_points().select


def load(name: str) -> AdapterClass:
    """Return the class of an installed adapter.

    Raises `UnknownAdapter` where there is none of this name, and `ConfigurationError` where it
    is there but cannot be used.
    """
    offers = adapters()
    if name not in offers:
        raise UnknownAdapter(unknown("adapter", name, offers))
    return offers[name].load()


class NeedsSettings(ConfigurationError):
    """An adapter cannot be made without a configuration."""


def without_secrets(name: str) -> Adapter:
    """Make an installed adapter that verifies nothing, to translate without a configuration.

    Raises `UnknownAdapter`, `NeedsSettings`, or another `ConfigurationError` where it is broken.
    """
    cls = load(name)
    fields = {field.name for field in attrs.fields(cls.Settings)}
    try:
        settings = cls.Settings(**({"insecure": True} if "insecure" in fields else {}))
    except TypeError as error:
        raise NeedsSettings(f"adapter {name} needs settings: give --config FILE") from error
    return cls(name, settings)


def _distribution(entry_point: metadata.EntryPoint) -> metadata.Distribution:
    assert entry_point.dist is not None  # noqa: S101 - it was found through its distribution
    return entry_point.dist


def _origin(entry_point: metadata.EntryPoint) -> str:
    distribution = _distribution(entry_point)
    return f"{entry_point.value} of {distribution.name} {distribution.version}"


def _fault(candidate: Any) -> str | None:  # noqa: ANN401 - whatever an entry point names
    """Return why something is not an `AdapterClass`, or None where it looks like one."""
    if not callable(candidate):
        return "it is not a class"
    settings = getattr(candidate, "Settings", None)
    if not (isinstance(settings, type) and attrs.has(settings)):
        return "its Settings is not an attrs class"
    try:
        inspect.signature(candidate).bind("name", settings)
    except (TypeError, ValueError):
        return "it is not made from a name and its settings"
    # A function that makes adapters is as good; what it makes shows only when it is called.
    if isinstance(candidate, type):
        missing = [name for name in ("verify", "parse") if not hasattr(candidate, name)]
        if missing:
            return f"it has no method {' and no method '.join(missing)}"
    return None


def engines() -> Mapping[str, Callable[[], type[attrs.AttrsInstance]]]:
    """Return what imports the settings classes of the journals' engines, by their names."""
    return {
        name: partial(_settings_of_engine, entry_points)
        for name, entry_points in _offers(JOURNALS).items()
    }


def _settings_of_engine(entry_points: Sequence[metadata.EntryPoint]) -> type[attrs.AttrsInstance]:
    engine: EngineModule = _imported("this engine", entry_points, _module_of)
    return engine.Settings


def _module_of(entry_point: metadata.EntryPoint) -> ModuleType:
    return import_module(entry_point.module)


def _imported(
    what: str,
    entry_points: Sequence[metadata.EntryPoint],
    load: Callable[[metadata.EntryPoint], Any],
) -> Any:  # noqa: ANN401 - whatever an entry point names
    """Import something that is offered. Raises `ConfigurationError`."""
    if len(entry_points) > 1:
        values = ", ".join(map(_origin, entry_points))
        raise ConfigurationError(f"{what} is offered more than once: {values}")
    (entry_point,) = entry_points
    try:
        return load(entry_point)
    except Exception as error:  # a broken package may raise anything as it is imported
        told = _unusable(what, entry_point, f"{type(error).__name__}: {error}")
        if isinstance(error, ModuleNotFoundError) and entry_point.extras:
            offer = f"{_distribution(entry_point).name}[{','.join(entry_point.extras)}]"
            told = f"{what} needs the extra: pip install {offer}"
        raise ConfigurationError(told) from error


def _unusable(what: str, entry_point: metadata.EntryPoint, reason: str) -> str:
    return f"{what} cannot be used ({_origin(entry_point)}): {reason}"


def journal_of(settings: tables.JournalSettings) -> Journal:
    """Return the journal; nothing is opened yet. Raises `ConfigurationError`."""
    cls: JournalClass = _engine(settings.engine, _LOAD)
    return cls.from_settings(settings, local=lambda *local: journal_of(_local_settings(*local)))


def check_journal(settings: tables.JournalSettings) -> Sequence[Problem]:
    """Return what needs attention, as `EngineModule.check` does."""
    engine: EngineModule = _engine(settings.engine, _module_of)
    return engine.check(settings, local=lambda *local: check_journal(_local_settings(*local)))


def _engine(name: str, load: Callable[[metadata.EntryPoint], Any]) -> Any:  # noqa: ANN401
    """Import something of the engine of this name. Raises `ConfigurationError`."""
    offers = _offers(JOURNALS)
    told = unknown("engine", name, offers)
    if name in offers:
        try:
            return _imported("this engine", offers[name], load)
        except ConfigurationError as error:
            told = str(error)
    raise ConfigurationError((Problem("journal.engine", told),))


def _local_settings(path: Path, max_size: int) -> tables.JournalSettings:
    # What has been taken out of it need not stay.
    return tables.JournalSettings(path=path, keep=0, max_size=max_size)


def read(path: Path | str) -> tables.Settings:
    """Read the settings from a file, with what is installed. Raises `ConfigurationError`."""
    path = Path(path)
    return loads(tables.text_of(path), path=path)


def read_journal(path: Path) -> tables.JournalSettings:
    """Read `[journal]` alone, with what is installed. Raises `ConfigurationError`."""
    return tables.load_journal(path, engines=engines())


def loads(
    text: str, environ: Mapping[str, str] = os.environ, *, path: Path | None = None
) -> tables.Settings:
    """Read the settings from a text, with what is installed. Raises `ConfigurationError`."""
    classes = {name: offer.settings_class for name, offer in adapters().items()}
    return tables.loads(text, classes, environ, engines=engines(), path=path)
