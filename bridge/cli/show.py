"""`bridge show`: one event whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.cli.client import connect
from bridge.cli.config import ConfigOption
from bridge.cli.filters import refuse_masked
from bridge.cli.rendering import EventPrinter, masked, pretty, print_json, print_table
from bridge.model.masking import mask_phones_in

_HEADINGS = ("subscriber", "standing", "tries", "times", "error")


def show(
    key: str,
    /,
    *,
    config: ConfigOption = None,
    json: bool = False,
    show_personal_data: bool = False,
) -> None:
    """Show one event whole, and what became of it.

    Beside it stands what the provider sent. Then come every subscriber's outcome with its
    tries, times and error, and all that is known about the same message, in the order in which
    it came.

    Example: `bridge show message/whatsapp/wamid.HBgNODE1 --show-personal-data`

    Parameters
    ----------
    key
        The event's key, as `bridge tail` and `bridge events` print it; where it holds a number,
        with --show-personal-data.
    config
        The server's configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    json
        Print one JSON object.
    show_personal_data
        Show names, numbers, texts and the provider's item instead of masking them.
    """
    refuse_masked(key)
    found = connect(config).get("/event", key=key)
    outcomes = [outcome_of(each, whole=show_personal_data) for each in found["outcomes"]]
    if json:
        events = (found["entry"], *found["history"])
        entry, *history = events if show_personal_data else map(_masked, events)
        print_json({"entry": entry, "outcomes": outcomes, "history": history})
        return
    event = found["entry"]["event"]
    raw = event.pop("raw", None)
    _title("event")
    _write(pretty(event if show_personal_data else masked(event)))
    _title("as the provider sent it")
    _write(pretty(raw) if show_personal_data else "hidden: --show-personal-data shows it")
    _title("subscribers")
    if outcomes:
        print_table(_HEADINGS, map(_row, outcomes))
    else:
        _write("none wants it")
    if found["history"]:
        _title("the message's history")
        print_event = EventPrinter(form="text", show_personal_data=show_personal_data)
        for entry in found["history"]:
            print_event(entry["event"])


def outcome_of(outcome: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
    """Return an outcome or a dead letter whose error, a subscriber's own words, shows no phone."""
    known = dict(outcome)
    if not whole and "error" in known:
        known["error"] = mask_phones_in(known["error"])
    return known


def _masked(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry, "event": masked(entry["event"])}


def _row(outcome: Mapping[str, Any]) -> tuple[str, ...]:
    standing = outcome["standing"]
    if outcome["replayed"]:
        standing += ", replayed"
    tries = str(outcome["tries"]) if outcome["tries"] else ""
    return (outcome["subscriber"], standing, tries, ", ".join(_times(outcome)), _error(outcome))


def _times(outcome: Mapping[str, Any]) -> Iterator[str]:
    for name, words in (
        ("first_failed_at", "failing since"),
        ("failed_at", "gave up at"),
        ("due_at", "next try at"),
    ):
        if name in outcome:
            yield f"{words} {outcome[name]}"


def _error(outcome: Mapping[str, Any]) -> str:
    letter = f"dead letter {outcome['letter']}: " if "letter" in outcome else ""
    return f"{letter}{outcome.get('error', '')}"


def _title(text: str) -> None:
    _write(f"\n--- {text} ---")


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
