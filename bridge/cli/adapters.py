"""`bridge adapters`: what is installed; and adapters that need no secrets, for trying out."""

from __future__ import annotations

import inspect
import sys

import attrs
import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bridge import assembly
from bridge.adapter import Adapter, AdapterClass, SampleSource
from bridge.cli.terminal import Exit, print_line
from bridge.errors import BridgeError, ConfigurationError


def without_secrets(name: str) -> Adapter:
    """Make an installed adapter that lets everybody in, to translate without a configuration.

    Raises `UnknownAdapter`, or `ConfigurationError` where it cannot do without settings.
    """
    return _without_secrets(name, assembly.load(name))


def _without_secrets(name: str, cls: AdapterClass) -> Adapter:
    fields = {field.name for field in attrs.fields(cls.Settings)}
    try:
        settings = cls.Settings(**({"insecure": True} if "insecure" in fields else {}))
    except TypeError as error:
        raise ConfigurationError(f"adapter {name} needs settings: give --config FILE") from error
    return cls(name, settings)


@attrs.frozen(kw_only=True)
class _Row:
    """What is told of an adapter; `samples` is None where it brings none, or needs settings."""

    name: str
    version: str
    location: str
    samples: int | None = None
    summary: str = ""
    fault: str | None = None

    def as_json(self) -> dict[str, str | int | None]:
        return {
            "name": self.name,
            "version": self.version,
            "class": self.location,
            "samples": self.samples,
            "summary": self.summary,
            "fault": self.fault,
        }

    def cells(self) -> tuple[str, ...]:
        samples = "-" if self.samples is None else str(self.samples)
        about = self.summary if self.fault is None else f"broken: {self.fault}"
        return (self.name, self.version, self.location, samples, about)


def _row(offer: assembly.Installed) -> _Row:
    row = _Row(
        name=offer.name,
        version=f"{offer.distribution} {offer.version}",
        location=", ".join(entry_point.value for entry_point in offer.entry_points),
    )
    try:
        cls = offer.load()
    except BridgeError as error:
        return attrs.evolve(row, fault=str(error))
    summary = (inspect.getdoc(cls) or "").partition("\n")[0]
    try:
        adapter = _without_secrets(offer.name, cls)
        samples = len(adapter.samples()) if isinstance(adapter, SampleSource) else None
    except ConfigurationError:
        samples = None
    except Exception as error:  # noqa: BLE001 - somebody else's code, which is only listed here
        return attrs.evolve(row, summary=summary, fault=f"it fails with {type(error).__name__}")
    return attrs.evolve(row, summary=summary, samples=samples)


def adapters(*, json: bool = False) -> int:
    """List the adapters that are installed.

    A package adds one with an entry point of the group `bridge.adapters`.

    Example: `bridge adapters`

    Parameters
    ----------
    json
        Print a JSON array instead of a table.
    """
    rows = [_row(offer) for offer in assembly.installed().values()]
    if json:
        sys.stdout.write(orjson.dumps([row.as_json() for row in rows]).decode() + "\n")
        return Exit.OK
    out = Console(highlight=False, markup=False, emoji=False)
    if not out.is_terminal:
        for row in rows:
            print_line(*row.cells())
        return Exit.OK
    table = Table("name", "version", "class", "samples", "summary", box=SIMPLE)
    for row in rows:
        table.add_row(*row.cells(), style=None if row.fault is None else "red")
    out.print(table)
    return Exit.OK
