"""Which configuration a command uses, and what is made of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import attrs
from cyclopts import Parameter

from bridge import assembly
from bridge.adapter import Adapter
from bridge.adapter.signing import Secret
from bridge.cli.terminal import say
from bridge.errors import ConfigurationError, Problem, UnknownAdapter
from bridge.settings import AdapterEntry, Settings, load, toml
from bridge.settings.wording import unknown

VARIABLE: Final = "BRIDGE_CONFIG"
DEFAULT: Final = Path("config.toml")
EXAMPLE: Final = Path("config.example.toml")

ConfigOption: TypeAlias = Annotated[Path | None, Parameter(name=["--config", "-c"])]
"""The option of every command that has a configuration."""


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
        return DEFAULT
    if or_example and EXAMPLE.exists():
        say(f"note: there is no {DEFAULT}, so {EXAMPLE} is used")
        return EXAMPLE
    raise ConfigurationError(
        "there is no configuration: make one with `bridge init`, "
        f"or name one with --config FILE or ${VARIABLE}"
    )


def read(path: Path) -> Settings:
    """Read the settings. Raises `ConfigurationError` with everything that is wrong.

    Makes the modules beside the file importable, since a subscriber's often stands there.
    """
    directory = path.parent.absolute()
    namesake = directory / "bridge.py"
    if namesake.exists():
        told = "hidden by the package `bridge` of incs-bridge, so rename this file"
        raise ConfigurationError((Problem("", told, file=str(namesake)),))
    if str(directory) not in sys.path:
        sys.path.append(str(directory))  # last, so that nothing there hides what is installed
    return load(
        path,
        assembly.settings_class,
        installed=assembly.installed(),
        engines=assembly.engines(),
    )


def adapter(settings: Settings, name: str) -> Adapter:
    """Make a configured adapter.

    Raises `UnknownAdapter`, or `ConfigurationError` where it refuses its settings.
    """
    entry = entry_of(settings, name)
    try:
        return assembly.load(entry.type)(name, entry.settings)
    except ConfigurationError as error:
        raise ConfigurationError(settings.locate(f"adapters.{name}", error)) from error


def entry_of(settings: Settings, name: str) -> AdapterEntry:
    """Return a configured adapter's entry. Raises `UnknownAdapter`."""
    try:
        return settings.adapters[name]
    except KeyError:
        raise UnknownAdapter(unknown("configured adapter", name, settings.adapters)) from None


def secrets(settings: Settings) -> Iterator[tuple[toml.Path, Secret]]:
    """Return every secret, with where in the configuration it stands."""
    yield from _secrets(settings.admin, ("admin",))
    for name, entry in settings.adapters.items():
        yield from _secrets(entry.settings, ("adapters", name))


def _secrets(value: object, path: toml.Path) -> Iterator[tuple[toml.Path, Secret]]:
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _secrets(item, (*path, index))
    elif attrs.has(cls := type(value)):
        for field in attrs.fields(cls):
            yield from _secrets(getattr(value, field.name), (*path, field.name))
