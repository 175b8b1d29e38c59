"""`bridge trigger`: post sample callbacks to a running server, as the provider would."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

from cyclopts import Parameter
from cyclopts.validators import Number

from bridge.cli import config as configuration
from bridge.cli.config import ConfigOption
from bridge.cli.rendering import print_json
from bridge.cli.terminal import Exit, UsageError, is_terminal, print_named, say, talk
from bridge.errors import BridgeError
from bridge.settings.wording import base_url, reached_at

if TYPE_CHECKING:
    from bridge.cli.planning import Plan
    from bridge.cli.posting import Answer
    from bridge.cli.samples import Target
    from bridge.settings import ServerSettings

_MANY: Final = 10
_AT_ONCE: Final = 16
_MOST_AT_ONCE: Final = 1000
_SEEDS: Final = 10_000


class Unreachable(BridgeError):
    """Nobody answers at the server's address."""


def trigger(
    *samples: str,
    every: Annotated[bool, Parameter(name="--all")] = False,
    listing: Annotated[bool, Parameter(name="--list")] = False,
    json: bool = False,
    config: ConfigOption = None,
    url: str | None = None,
    adapter: str | None = None,
    file: Annotated[Path | None, Parameter(name="--from")] = None,
    changes: Annotated[tuple[str, ...], Parameter(name="--set", consume_multiple=False)] = (),
    keep_ids: Annotated[bool | None, Parameter(negative="--new-ids")] = None,
    count: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    rate: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    concurrency: Annotated[
        int | None, Parameter(validator=Number(gte=1, lte=_MOST_AT_ONCE))
    ] = None,
    duplicate: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    shuffle: bool = False,
    seed: int | None = None,
    bad_signature: bool = False,
    printing: Annotated[bool, Parameter(name="--print")] = False,
    quiet: bool = False,
) -> int:
    """Post sample callbacks to a running server.

    Prints a line for each, its name and what the server answered, and at the end on standard
    error how many were accepted and refused. Succeeds where all were accepted.

    Example: `bridge trigger whatsapp-text --count 100 --duplicate 1 --shuffle`

    Parameters
    ----------
    samples
        The samples' names, as `--list` shows them; without the adapter's where that is clear.
    every
        Post every sample.
    listing
        Print the samples' names and titles, and post nothing.
    json
        With --list: print each as a line of JSON.
    config
        The configuration; by default $BRIDGE_CONFIG, then ./config.toml, then the example.
    url
        The server, such as http://127.0.0.1:8080; by default where the configuration says.
    adapter
        Take the samples of this configured adapter only.
    file
        Post the bodies of this file instead, signed as the adapter's provider would: one body,
        several, or an array of them.
    changes
        Change a value of the body first, such as `message_status=read` or
        `entry[0].changes[0].value.messages[0].text.body=hello`; can be repeated. The value is
        JSON, or else a string. A path that a body does not have is added, and told.
    keep_ids
        Post the ids and times as they stand there, so that the second time is a duplicate; or
        make new ones for each run. Samples get new ones, bodies of a file keep theirs.
    count
        Post everything so many times, each time with new ids.
    rate
        Post so many in a second at most.
    concurrency
        How many may be under way at once. By default 1, so that they arrive in their order;
        with --count or --rate, 16.
    duplicate
        Post each callback so many times more, byte for byte, as a provider does that has not
        heard the answer.
    shuffle
        Post all of them in random order, as late callbacks come.
    seed
        With --shuffle: the same seed and samples give the same order.
    bad_signature
        Spoil the signature or token of each; it succeeds where all are refused with 401.
    printing
        Print the bodies as they would be posted, and post nothing.
    quiet
        Print no line for what went as expected.
    """
    from bridge.cli import samples as sources

    if listing:
        _print_list(sources.listed(config, adapter), as_json=json)
        return Exit.OK
    from bridge.cli.changes import Change
    from bridge.cli.planning import Plan, requests_of

    if [every, bool(samples), file is not None].count(True) != 1:
        raise UsageError(
            "give the names of samples, or --all for all of them, or --from FILE; --list shows them"
        )
    if seed is not None and not shuffle:
        raise UsageError("--seed goes with --shuffle")
    path = configuration.find(config, or_example=True)
    settings = configuration.read(path)
    if file is not None:
        targets = sources.from_file(file, settings, adapter)
    else:
        known = sources.configured(settings, adapter)
        targets = known if every else [sources.named(name, known) for name in samples]
    if concurrency is None:
        concurrency = 1 if count == 1 and rate is None else _AT_ONCE
    if shuffle and seed is None:
        seed = secrets.randbelow(_SEEDS)
        say(f"note: --seed {seed} repeats this order")
    plan = Plan(
        targets=tuple(targets),
        changes=tuple(map(Change.parse, changes)),
        rounds=count,
        duplicates=duplicate,
        rate=rate,
        concurrency=concurrency,
        seed=seed,
        keep_ids=file is not None if keep_ids is None else keep_ids,
        forged=bad_signature,
    )
    _tell_new_paths(plan)
    if printing:
        for _, request in requests_of(plan):
            sys.stdout.buffer.write(request.body + b"\n")
        return Exit.OK
    import asyncio

    from bridge.cli.posting import Broken, post

    server = _address(settings.server) if url is None else _checked(url)
    try:
        with _watched(plan, quiet=quiet) as answered:
            summary = asyncio.run(post(plan, server + settings.server.prefix, answered))
    except Broken as error:
        raise Unreachable(
            f"no server answers at {server} ({error.reason}); "
            f"start the server with: bridge serve --config {path}"
        ) from error
    if summary.sent > 1:
        say(str(summary))
    return Exit.OK if summary.is_as_expected(forged=bad_signature) else Exit.FAILURE


def _print_list(targets: Iterable[Target], *, as_json: bool) -> None:
    listed = tuple(targets)
    width = _width(listed)
    for target in listed:
        if as_json:
            print_json({"name": target.name, "title": target.title})
        else:
            print_named(target.name, target.title, width=width)


def _width(targets: Iterable[Target]) -> int:
    return max((len(target.name) for target in targets), default=0)


def _tell_new_paths(plan: Plan) -> None:
    """Tell of each change whose path some body does not have: it may be misspelt."""
    from bridge.cli.changes import changed, near

    for number, change in enumerate(plan.changes):
        bodies = (
            (target, changed(target.value(), plan.changes[:number])) for target in plan.targets
        )
        missing = [(target, body) for target, body in bodies if change.is_new_in(body)]
        if missing:
            target, body = missing[0]
            names = target.name + (f" and {len(missing) - 1} more" if missing[1:] else "")
            near_ones = near(change.path, body)
            hint = f"; near it: {', '.join(near_ones)}" if near_ones else ""
            say(f"note: --set {change.path}: no such path in {names}, so it is added{hint}")


def _address(server: ServerSettings) -> str:
    """Return where the configured server is reached from this machine."""
    if server.port == 0:
        raise UsageError("the configured port is 0, so only the server knows it: give --url")
    return base_url(reached_at(server.host), server.port)


def _checked(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise UsageError(f"--url: expected an address such as http://127.0.0.1:8080, found {url!r}")
    return url.rstrip("/")


@contextmanager
def _watched(plan: Plan, *, quiet: bool) -> Iterator[Callable[[Answer], None]]:
    """Give what is told each answer: it prints lines, and a bar shows how far it is."""
    width = _width(plan.targets)

    def show(answer: Answer) -> None:
        if not quiet or answer.accepted is plan.forged:
            told = f"{answer.status} {answer.reason}"
            print_named(answer.name, told, answer.detail, width=width)

    # With the lines on the terminal too, they themselves show how far it is.
    is_shown = sys.stdout.isatty() and not quiet
    if len(plan) < _MANY or not is_terminal(sys.stderr) or is_shown:
        yield show
        return
    from rich.progress import Progress

    # Left to itself, rich would catch what goes to standard output.
    with Progress(console=talk(), transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("posting", total=len(plan))

        def show_and_advance(answer: Answer) -> None:
            show(answer)
            progress.advance(task)

        yield show_and_advance
