"""`bridge adapters`: what is installed."""

from __future__ import annotations

import inspect
from operator import itemgetter
from typing import Final

from bridge import installed
from bridge.cli.options import AsJson
from bridge.cli.rendering import Columns, print_rows
from bridge.cli.terminal import is_terminal
from bridge.errors import BridgeError

_COLUMNS: Final[Columns] = {
    "name": itemgetter("name"),
    "version": itemgetter("version"),
    "class": itemgetter("class"),
    "samples": lambda row: "-" if row["samples"] is None else str(row["samples"]),
    "summary": lambda row: f"broken: {row['fault']}" if row["fault"] else row["summary"],
}
_NARROW: Final[Columns] = {name: cell for name, cell in _COLUMNS.items() if name != "class"}


def _row(offer: installed.Installed) -> dict[str, str | int | None]:
    """Return the row of an adapter; `samples` is None if it has none or needs settings."""
    from bridge.adapter import SampleSource

    row: dict[str, str | int | None] = {
        "name": offer.name,
        "version": f"{offer.distribution} {offer.version}",
        "class": ", ".join(entry_point.value for entry_point in offer.entry_points),
        "samples": None,
        "summary": "",
        "fault": None,
    }
    try:
        cls = offer.load()
        row["summary"] = (inspect.getdoc(cls) or "").partition("\n")[0]
        adapter = installed.without_secrets(offer.name)
        row["samples"] = len(adapter.samples()) if isinstance(adapter, SampleSource) else None
    except installed.NeedsSettings:
        pass
    except BridgeError as error:
        row["fault"] = str(error)
    except Exception as error:  # noqa: BLE001 - third-party code, which is only listed here
        row["fault"] = f"it fails with {type(error).__name__}"
    return row


def adapters(*, json: AsJson = False) -> None:
    """List the adapters that are installed.

    A package adds one with an entry point of the group `bridge.adapters`.

    Example: `bridge adapters`
    """
    columns = _NARROW if is_terminal() else _COLUMNS
    print_rows(map(_row, installed.adapters().values()), columns, as_json=json)
