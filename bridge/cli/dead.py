"""`bridge dead`: what subscribers could not take, and what becomes of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from bridge.cli.client import Client, connect
from bridge.cli.config import ConfigOption
from bridge.cli.rendering import masked, pretty, print_json, print_table
from bridge.cli.show import outcome_of
from bridge.cli.terminal import Exit, UsageError, confirmed, fail, say
from bridge.model.masking import mask_phones_in

dead = App(
    name="dead",
    help="""List, show, retry or drop what subscribers could not take.

    Example: `bridge dead list`""",
)

_PAGE: Final = 500
_HEADINGS: Final = ("id", "subscriber", "gave up at", "tries", "key", "error")
_WIDTH: Final = 120  # of an error in a list


@dead.command(name="list")
def list_letters(
    *, subscriber: str | None = None, config: ConfigOption = None, json: bool = False
) -> None:
    """List the dead letters, the oldest first.

    Example: `bridge dead list --subscriber crm`

    Parameters
    ----------
    subscriber
        Only this subscriber's.
    config
        The server's configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    json
        Print each as a line of JSON, without its event.
    """
    letters = map(_summary, _letters(connect(config), subscriber))
    if json:
        for letter in letters:
            print_json(letter)
        return
    print_table(
        _HEADINGS,
        (
            (
                str(letter["id"]),
                letter["subscriber"],
                letter["failed_at"],
                str(letter["tries"]),
                letter["key"],
                letter["error"][:_WIDTH],
            )
            for letter in letters
        ),
    )


@dead.command
def show(
    letter: int,
    /,
    *,
    config: ConfigOption = None,
    json: bool = False,
    show_personal_data: bool = False,
) -> int:
    """Show a dead letter: its event, its tries, times and error.

    Example: `bridge dead show 17`

    Parameters
    ----------
    letter
        The id, as `bridge dead list` prints it.
    config
        The server's configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    json
        Print one line of JSON.
    show_personal_data
        Show names, numbers, texts and the provider's item instead of masking them.
    """
    found = connect(config).get("/dead", id=letter)["letters"]
    if not found:
        fail(f"there is no dead letter {letter}")
        return Exit.FAILURE
    whole = outcome_of(found[0], whole=show_personal_data)
    event = whole.pop("entry")["event"]
    whole["event"] = event if show_personal_data else masked(event)
    if json:
        print_json(whole)
    else:
        sys.stdout.write(pretty(whole) + "\n")
    return Exit.OK


@dead.command
def retry(
    *letters: int,
    every: Annotated[bool, Parameter(name="--all")] = False,
    subscriber: str | None = None,
    config: ConfigOption = None,
) -> int:
    """Give dead letters to their subscribers again, with all their tries.

    Example: `bridge dead retry --all --subscriber crm`

    Parameters
    ----------
    letters
        The ids, as `bridge dead list` prints them.
    every
        All that there are.
    subscriber
        With --all: only this subscriber's.
    config
        The server's configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    """
    ids = _chosen(letters, every=every, subscriber=subscriber)
    done = connect(config).post("/dead/retry", ids=ids, subscriber=subscriber)["retried"]
    return _reported(done, len(letters), "given back")


@dead.command
def drop(
    *letters: int,
    every: Annotated[bool, Parameter(name="--all")] = False,
    subscriber: str | None = None,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
    config: ConfigOption = None,
) -> int:
    """Drop dead letters: their subscribers never get these events.

    Example: `bridge dead drop 17 18`

    Parameters
    ----------
    letters
        The ids, as `bridge dead list` prints them.
    every
        All that there are.
    subscriber
        With --all: only this subscriber's.
    yes
        With --all: do not ask.
    config
        The server's configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    """
    ids = _chosen(letters, every=every, subscriber=subscriber)
    client = connect(config)
    whose = "every subscriber" if subscriber is None else subscriber
    if every and not yes and not confirmed(f"Drop all dead letters of {whose}?"):
        return Exit.FAILURE
    done = client.post("/dead/drop", ids=ids, subscriber=subscriber)["dropped"]
    return _reported(done, len(letters), "dropped")


def _letters(client: Client, subscriber: str | None) -> Iterator[dict[str, Any]]:
    after: int | None = 0
    while after is not None:
        page = client.get("/dead", subscriber=subscriber, after=after, limit=_PAGE)
        yield from page["letters"]
        after = page["next"]


def _summary(letter: dict[str, Any]) -> dict[str, Any]:
    known = outcome_of(letter, whole=False)
    event = known.pop("entry")["event"]
    return {**known, "kind": event["kind"], "key": mask_phones_in(event["key"])}


def _chosen(letters: tuple[int, ...], *, every: bool, subscriber: str | None) -> list[int] | None:
    if every == bool(letters):
        raise UsageError("name the dead letters by their ids, or all of them with --all")
    if letters and subscriber is not None:
        raise UsageError("--subscriber goes with --all: an id says already whose it is")
    return None if every else list(letters)


def _reported(done: int, asked: int, verb: str) -> int:
    say(f"{done} dead letter{'' if done == 1 else 's'} {verb}")
    return Exit.OK if done >= asked else Exit.FAILURE
