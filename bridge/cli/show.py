"""`bridge show`: one event whole."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from bridge.cli.client import Refused, connect
from bridge.cli.options import AsJson, ServerConfig, ShowPersonalData
from bridge.cli.rendering import Columns, EventPrinter, pretty, print_json, print_rows
from bridge.cli.terminal import Exit, fail
from bridge.model.masking import mask_told_in, masked, neutralise


def show(
    key: str,
    /,
    *,
    config: ServerConfig = None,
    json: AsJson = False,
    show_personal_data: ShowPersonalData = False,
) -> int:
    """Show one event whole, and what became of it.

    Beside it stands what the provider sent. Then come every subscriber's outcome with its
    tries, times, error and the lines of code that raised it, all that is known about the
    same message, in the order in which it came, and the latest callbacks that told of it.

    Example: `bridge show incs/message/whatsapp/wamid.HBgNODE1 --show-personal-data`

    Parameters
    ----------
    key
        The event's key, as the log, `bridge tail` and `bridge events` print it, masked or not; a
        masked one takes longer to find. Or a provider's id of the message, or a key under
        another of its names: they lead to what was published first.
    """
    try:
        found = connect(config).get("/event", key=key)
    except Refused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        fail(str(error))
        return Exit.FAILURE
    told = None if show_personal_data else found["entry"]["event"]
    outcomes = [outcome_of(each, hiding=told) for each in found["outcomes"]]
    if json:
        events = (found["entry"], *found["history"])
        entry, *history = events if show_personal_data else map(_masked, events)
        callbacks = found["callbacks"]
        print_json(
            {"entry": entry, "outcomes": outcomes, "history": history, "callbacks": callbacks}
        )
        return Exit.OK
    event = found["entry"]["event"]
    raw = event.pop("raw", None)
    event = event if show_personal_data else masked(event)
    _write(neutralise(event["key"]))
    _title("event")
    _write(pretty(event))
    _title("as the provider sent it")
    _write(pretty(raw) if show_personal_data else "hidden: --show-personal-data shows it")
    _title("subscribers")
    if outcomes:
        print_rows(outcomes, _COLUMNS)
    else:
        _write("none wants it")
    for outcome in outcomes:
        if "where" in outcome:
            _title(f"{outcome['subscriber']} failed at {outcome['where']}")
            _write("\n".join(outcome.get("trace", ())))
    if found["history"]:
        _title("the message's history")
        print_event = EventPrinter(form="text", show_personal_data=show_personal_data)
        for entry in found["history"]:
            print_event(entry["event"])
    _title("callbacks that told of it")
    for callback in found["callbacks"]:
        _write(_callback(callback, found["entry"]["position"]))
    if not found["callbacks"]:
        _write(f"none since the server's start at {found['callbacks_since']}")
    return Exit.OK


def _callback(callback: Mapping[str, Any], own: int) -> str:
    position = callback["position"]
    became = "a repetition, for which nothing was published"
    if position is not None:
        became = "published" if position == own else f"published as the event at {position}"
    client = f" from {callback['client']}" if callback["client"] else ""
    lines = [f"{callback['received_at']} by {callback['source']}{client}: {became}"]
    lines += [f"  {name}: {value}" for name, value in callback["headers"]]
    return "\n".join(map(neutralise, lines))


def outcome_of(outcome: Mapping[str, Any], *, hiding: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an outcome or a dead letter whose error repeats nothing personal of this event.

    The error is in a subscriber's own words; None hides nothing of them.
    """
    known = dict(outcome)
    if hiding is not None and "error" in known:
        known["error"] = mask_told_in(known["error"], hiding)
    return known


def _masked(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry, "event": masked(entry["event"])}


def _standing(outcome: Mapping[str, Any]) -> str:
    return f"{outcome['standing']}{', replayed' if outcome['replayed'] else ''}"


def _times(outcome: Mapping[str, Any]) -> str:
    words = {"first_failed_at": "failing since", "failed_at": "gave up at", "due_at": "next try at"}
    return ", ".join(f"{text} {outcome[name]}" for name, text in words.items() if name in outcome)


def _error(outcome: Mapping[str, Any]) -> str:
    letter = f"dead letter {outcome['letter']}: " if "letter" in outcome else ""
    return f"{letter}{outcome.get('error', '')}"


_COLUMNS: Final[Columns] = {
    "subscriber": lambda outcome: outcome["subscriber"],
    "standing": _standing,
    "tries": lambda outcome: str(outcome["tries"] or ""),
    "times": _times,
    "error": _error,
}


def _title(text: str) -> None:
    _write(f"\n--- {text} ---")


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
