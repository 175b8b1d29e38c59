"""`bridge dead`: what subscribers could not take, and what becomes of it."""

from __future__ import annotations

import re
import sys
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from cyclopts import App, Parameter
from cyclopts.validators import Number

from bridge.cli.client import connect
from bridge.cli.options import (
    AsJson,
    Every,
    ServerConfig,
    ShowPersonalData,
    Since,
    Subscriber,
    Yes,
    check_named,
    moment,
)
from bridge.cli.rendering import (
    Columns,
    one_line,
    pretty,
    print_json,
    print_rows,
    short_time,
)
from bridge.cli.show import outcome_of
from bridge.cli.terminal import (
    Exit,
    UsageError,
    confirmed,
    counted,
    fail,
    is_terminal,
    print_line,
    say,
)
from bridge.model.masking import mask_phones_in, masked

dead = App(
    name="dead",
    help="""List, show, retry or drop what subscribers could not take.

    Example: `bridge dead list`""",
)

if TYPE_CHECKING:
    from bridge.cli.asking import Client

_PAGE: Final = 500
_SCREEN: Final = 10  # letters that are listed below their summary in a terminal
_WIDE: Final[Columns] = {
    "id": lambda letter: str(letter["id"]),
    "subscriber": lambda letter: letter["subscriber"],
    "gave up at": lambda letter: letter["failed_at"],
    "tries": lambda letter: str(letter["tries"]),
    "key": lambda letter: letter["key"],
    "error": lambda letter: one_line(letter["error"]),
    "raised at": lambda letter: letter.get("where", ""),
}
_NARROW: Final[Columns] = {
    **{name: _WIDE[name] for name in ("id", "subscriber")},
    "gave up (UTC)": lambda letter: short_time(letter["failed_at"]),
    **{name: _WIDE[name] for name in ("tries", "error")},
}
_GROUPS: Final[Columns] = {
    "letters": lambda group: str(group["letters"]),
    **{name: _WIDE[name] for name in ("subscriber", "error", "raised at")},
}
_NARROW_GROUPS: Final[Columns] = {
    **_GROUPS,
    "raised at": lambda group: group["where"].rpartition("/")[2],
}

Letter: TypeAlias = Annotated[int, Parameter(help="The ids, as `bridge dead list` prints them.")]


@dead.command(name="list")
def list_letters(
    *,
    subscriber: Subscriber = None,
    since: Since = None,
    limit: Annotated[int | None, Parameter(name=["--limit", "-n"], validator=Number(gte=1))] = None,
    wide: bool = False,
    summary: bool = False,
    config: ServerConfig = None,
    json: AsJson = False,
) -> None:
    """List the dead letters, the oldest first, below how many have the same fault.

    In a terminal these are the newest ten, unless --limit or --wide asks for more.

    Example: `bridge dead list --subscriber crm --since 1h`

    Parameters
    ----------
    limit
        At most so many of the newest.
    wide
        In a terminal: with whole times and errors, and the events' keys.
    summary
        Only how many letters have the same fault: one kind of error, raised at one line of one
        subscriber. The error is that of the newest.
    """
    letters = _letters(connect(config), subscriber, moment(since, "--since"), limit)
    rows = _groups(letters)
    if not letters and is_terminal() and not json:
        say("no dead letters")
        return
    is_looked_at = is_terminal() and not json
    if summary or (is_looked_at and len(rows) < len(letters)):
        columns = _NARROW_GROUPS if is_terminal() else _GROUPS
        print_rows(rows, columns, as_json=json, cut="error")
    if summary:
        return
    shown = letters[-_SCREEN:] if is_looked_at and not wide and limit is None else letters
    is_narrow = is_terminal() and not wide
    columns = _NARROW if is_narrow else _WIDE
    print_rows(shown, columns, as_json=json, cut="error" if is_narrow else None, is_wide=wide)
    if len(shown) < len(letters):
        say(f"the newest {len(shown)} of {len(letters)}; all of them: --limit {len(letters)}")


@dead.command
def show(
    letter: int,
    /,
    *,
    config: ServerConfig = None,
    json: AsJson = False,
    show_personal_data: ShowPersonalData = False,
) -> int:
    """Show a dead letter: its event, its tries, times and error, and the lines that raised it.

    Example: `bridge dead show 17`

    Parameters
    ----------
    letter
        The id, as `bridge dead list` prints it.
    """
    found = connect(config).get("/dead", id=letter)["letters"]
    if not found:
        fail(f"there is no dead letter {letter}")
        return Exit.FAILURE
    event = found[0]["entry"]["event"]
    whole = outcome_of(found[0], hiding=None if show_personal_data else event)
    del whole["entry"]
    whole["event"] = event if show_personal_data else masked(event)
    if json:
        print_json(whole)
    else:
        if is_terminal():  # to be copied whole, from a line of its own
            print_line(whole["event"]["key"])
        sys.stdout.write(pretty(whole) + "\n")
    return Exit.OK


@dead.command
def retry(
    *letters: Letter,
    every: Every = False,
    subscriber: Subscriber = None,
    config: ServerConfig = None,
) -> int:
    """Give dead letters to their subscribers again, with all their tries.

    Example: `bridge dead retry --all --subscriber crm`
    """
    ids = _chosen(letters, every=every, subscriber=subscriber)
    done = connect(config).post("/dead/retry", ids=ids, subscriber=subscriber)["retried"]
    return _reported(done, len(letters), "given back")


@dead.command
def drop(
    *letters: Letter,
    every: Every = False,
    subscriber: Subscriber = None,
    yes: Yes = False,
    config: ServerConfig = None,
) -> int:
    """Drop dead letters: their subscribers never get these events.

    Example: `bridge dead drop 17 18`
    """
    ids = _chosen(letters, every=every, subscriber=subscriber)
    client = connect(config)
    whose = "every subscriber" if subscriber is None else subscriber
    if every and not yes and not confirmed(f"Drop all dead letters of {whose}?"):
        return Exit.FAILURE
    done = client.post("/dead/drop", ids=ids, subscriber=subscriber)["dropped"]
    return _reported(done, len(letters), "dropped")


def _letters(
    client: Client, subscriber: str | None, since: str | None, limit: int | None
) -> Sequence[dict[str, Any]]:
    pages = client.pages("/dead", subscriber=subscriber, limit=_PAGE)
    found = (
        _summary(letter)
        for page in pages
        for letter in page["letters"]
        if since is None
        or datetime.fromisoformat(letter["failed_at"]) >= datetime.fromisoformat(since)
    )
    return list(deque(found, limit))


def _summary(letter: dict[str, Any]) -> dict[str, Any]:
    event = letter["entry"]["event"]
    known = outcome_of(letter, hiding=event)
    del known["entry"]
    return {**known, "kind": event["kind"], "key": mask_phones_in(event["key"])}


def _groups(letters: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many letters have the same fault; the inspector groups them in the same way."""
    counts: Counter[tuple[str, ...]] = Counter()
    newest: dict[tuple[str, ...], dict[str, Any]] = {}
    for letter in letters:
        error, where = one_line(letter["error"]), letter.get("where") or ""
        kind = error.partition(":")[0] if where else re.sub(r"\d+", "0", error)
        fault = (letter["subscriber"], where, kind)
        counts[fault] += 1
        newest[fault] = {"subscriber": letter["subscriber"], "error": error, "where": where}
    return [{"letters": count, **newest[fault]} for fault, count in counts.most_common()]


def _chosen(letters: tuple[int, ...], *, every: bool, subscriber: str | None) -> list[int] | None:
    check_named(letters, "dead letters by their ids", every=every)
    if letters and subscriber is not None:
        raise UsageError("--subscriber goes with --all: an id says already whose it is")
    return None if every else list(letters)


def _reported(done: int, asked: int, verb: str) -> int:
    missing = f", and {asked - done} not there" if done < asked else ""
    say(f"{counted(done, 'dead letter')} {verb}{missing}")
    return Exit.OK if done >= asked else Exit.FAILURE
