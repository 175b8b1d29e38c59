"""The options that several commands have, each explained once, and what is checked of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter
from cyclopts.validators import Number

from bridge.cli.terminal import UsageError
from bridge.model.masking import MASK

ServerConfig: TypeAlias = Annotated[
    Path | None,
    Parameter(
        name=["--config", "-c"],
        help="The server's configuration; by default $BRIDGE_CONFIG, then ./config.toml.",
    ),
]
AsJson: TypeAlias = Annotated[
    bool, Parameter(name="--json", help="Print one line of JSON for each, instead of a table.")
]
ShowPersonalData: TypeAlias = Annotated[
    bool,
    Parameter(help="Show names, numbers, texts and the provider's item instead of masking them."),
]
Since: TypeAlias = Annotated[
    str | None,
    Parameter(help="Only from this time on: 2026-01-31T12:00:00Z, or one ago such as 1h."),
]
Until: TypeAlias = Annotated[str | None, Parameter(help="Only before this time.")]
Subscriber: TypeAlias = Annotated[str | None, Parameter(help="Only this subscriber's.")]
Limit: TypeAlias = Annotated[
    int,
    Parameter(
        name=["--limit", "-n"], validator=Number(gte=1), help="How many of the newest are shown."
    ),
]
Every: TypeAlias = Annotated[bool, Parameter(name="--all", help="All that there are.")]
Yes: TypeAlias = Annotated[bool, Parameter(name=["--yes", "-y"], help="Do not ask.")]


def check_named(names: tuple[object, ...], what: str, *, every: bool) -> None:
    """Raise `UsageError` unless a command is given either names or --all."""
    if every == bool(names):
        raise UsageError(f"name the {what}, or all of them with --all")


def refuse_masked(*names: str | None) -> None:
    """Raise `UsageError` for what was copied from output that hides a number: nothing fits it."""
    for name in names:
        if name is not None and MASK in name:
            raise UsageError(f"{name} is masked: list it again with --show-personal-data")


def moment(text: str | None, option: str) -> str | None:
    """Return a time that is written as one, or as how long ago. Raises `UsageError`."""
    if text is None:
        return None
    from bridge.adapter.payload import instant
    from bridge.settings import seconds

    ago = None if text.isdigit() else seconds(text)  # bare digits are a time, if anything
    if ago is not None:
        try:
            return (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
        except OverflowError:
            pass
    value = instant(text)
    if value is None:
        raise UsageError(
            f'{option}: expected a time such as 2026-01-31T12:00:00Z, or one ago such as "90s", '
            f'"30m", "1h", "2d"; found {text!r}'
        )
    return value.isoformat()
