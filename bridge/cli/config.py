"""Which configuration a command uses, and what is made of it.

Every command imports this; what only some of them need is imported where it is used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

import attrs
from cyclopts import Parameter

from bridge.cli.terminal import say
from bridge.errors import ConfigurationError, Problem, UnknownAdapter

if TYPE_CHECKING:
    from bridge.adapter import Adapter
    from bridge.settings import AdapterEntry, Settings, toml

T = TypeVar("T")

VARIABLE: Final = "BRIDGE_CONFIG"
DEFAULT: Final = Path("config.toml")
EXAMPLE: Final = Path("config.example.toml")

ConfigOption: TypeAlias = Annotated[Path | None, Parameter(name=["--config", "-c"])]
"""The option of every command that has a configuration."""


def config() -> None:
    """Print the example configuration, in which every setting is explained.

    `bridge init` writes one for your own setup.

    Example: `bridge config > config.toml`
    """
    sys.stdout.write(resources.files("bridge").joinpath(EXAMPLE.name).read_text("utf-8"))


def find(option: Path | None, *, or_example: bool) -> Path:
    """Return the configuration's file: the option, `$BRIDGE_CONFIG` or `config.toml`.

    With `or_example` the example stands in for a missing one, which is said on standard error.
    Raises `ConfigurationError` where there is none.
    """
    if option is not None:
        return option
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    if DEFAULT.exists():
        _check_owner(DEFAULT)
        return DEFAULT
    if or_example and EXAMPLE.exists():
        _check_owner(EXAMPLE)
        say(f"note: there is no {DEFAULT}, so {EXAMPLE} is used")
        return EXAMPLE
    raise ConfigurationError(
        "there is no configuration: make one with `bridge init`, "
        f"or name one with --config FILE or ${VARIABLE}"
    )


def _check_owner(path: Path) -> None:
    """Refuse what somebody else has put where a command looks by itself: it runs their code."""
    if path.stat().st_uid not in (0, os.geteuid()):
        told = "belongs to another user: name it with --config to use it all the same"
        raise ConfigurationError((Problem("", told, file=str(path)),))


def read(path: Path) -> Settings:
    """Read the settings. Raises `ConfigurationError` with everything that is wrong.

    Makes the modules beside the file importable, since a subscriber's often stands there.
    """
    make_importable(path.parent.absolute())
    from bridge import installed

    return installed.read(path)


def make_importable(directory: Path) -> None:
    """Let modules of a folder be imported. Raises `ConfigurationError` where one is hidden."""
    namesake = directory / "bridge.py"
    if namesake.exists():
        told = "hidden by the package `bridge` of incs-bridge, so rename this file"
        raise ConfigurationError((Problem("", told, file=str(namesake)),))
    if str(directory) not in sys.path:
        sys.path.append(str(directory))  # last, so that nothing there hides what is installed


def adapter(settings: Settings, name: str) -> Adapter:
    """Make a configured adapter.

    Raises `UnknownAdapter`, or `ConfigurationError` where it refuses its settings.
    """
    from bridge import installed

    entry = entry_of(settings, name)
    try:
        return installed.load(entry.type)(name, entry.settings)
    except ConfigurationError as error:
        raise ConfigurationError(settings.locate(f"adapters.{name}", error)) from error


def entry_of(settings: Settings, name: str) -> AdapterEntry:
    """Return a configured adapter's entry. Raises `UnknownAdapter`."""
    try:
        return settings.adapters[name]
    except KeyError:
        from bridge.settings.wording import unknown

        raise UnknownAdapter(unknown("configured adapter", name, settings.adapters)) from None


def found(settings: Settings, cls: type[T]) -> Iterator[tuple[toml.Path, T]]:
    """Yield every value of a class, secrets or paths, with where in the configuration it stands."""
    for name in ("server", "admin"):
        yield from _found(getattr(settings, name), (name,), cls)
    for (table, key, *rest), value in _found(settings.journal, ("journal",), cls):
        yield (table, settings.journal.engine if key == "own" else key, *rest), value
    for name, entry in settings.adapters.items():
        yield from _found(entry.settings, ("adapters", name), cls)
    for name, subscriber in settings.subscribers.items():
        yield from _found(subscriber, ("subscribers", name), cls)


def _found(value: object, path: toml.Path, cls: type[T]) -> Iterator[tuple[toml.Path, T]]:
    if isinstance(value, cls):
        yield path, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _found(item, (*path, index), cls)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _found(item, (*path, name), cls)
    elif attrs.has(kind := type(value)):
        for field in attrs.fields(kind):
            yield from _found(getattr(value, field.name), (*path, field.name), cls)
