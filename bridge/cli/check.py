"""`bridge check`: whether the configuration is right, and whether it is wise."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from bridge.cli import config as configuration
from bridge.cli.config import ConfigOption
from bridge.cli.terminal import Exit, counted, is_terminal, print_line, print_wrapped, say, styled
from bridge.errors import ConfigurationError, Problem
from bridge.model.masking import neutralise

if TYPE_CHECKING:
    from bridge.settings import Settings


def check(*, config: ConfigOption = None, online: bool = False) -> int:
    """Check the configuration without starting anything.

    Every mistake is reported with its file and line, all of them at once. Valid settings that
    are unsafe are warnings, such as the example's token, or a secret in a file that others may
    read or the group write. A group may read it (`root:bridge`, mode 640). The journal is looked
    at as `bridge serve` would find it, and left as it is. No server is contacted, unless it is
    to be `--online`: then each provider is asked whether the credentials work, and nothing is
    sent. The exit code is 3 where one refuses them, and 1 where one cannot be asked now.

    Example: `bridge check --config config.toml --online`

    Parameters
    ----------
    config
        The configuration; by default $BRIDGE_CONFIG, then ./config.toml, then the example.
    online
        Ask the providers whether the credentials for sending work.
    """
    from bridge.cli.doubts import doubts

    path = configuration.find(config, or_example=True)
    found: tuple[Problem, ...] = ()
    try:
        settings = configuration.read(path)
        problems = mistakes(settings)
        if not problems:
            found = (*doubts(settings, path), *_about_journal(settings))
    except ConfigurationError as error:
        problems = error.problems
    if problems:
        _show(problems, "error", "red")
        say(f"{path}: {counted(len(problems), 'mistake')}", style="red")
        return Exit.CONFIGURATION
    _show(found, "warning", "yellow")
    if online and (code := _ask(settings, path)) is not Exit.OK:
        return code
    say(f"{path}: good" + (f", {counted(len(found), 'warning')}" if found else ""), style="green")
    return Exit.OK


def _ask(settings: Settings, path: Path) -> Exit:
    """Ask the providers whether the credentials work, and tell what they say."""
    import asyncio

    from bridge.outbox.probing import probed
    from bridge.runtime import Bridge

    results = asyncio.run(probed(Bridge.from_settings(settings).adapters, settings.outbox))
    if not results:
        say("no adapter has credentials that a provider could be asked about", style="yellow")
    refused, unknown = 0, 0
    for each in results:
        if each.fault is None:
            whose = "" if each.probe.account is None else f" of {each.probe.account}"
            say(f"adapters.{each.source}: the credentials{whose} work", style="green")
            continue
        problem = Problem(each.probe.setting, each.fault)
        located = settings.locate(f"adapters.{each.source}", ConfigurationError((problem,)))
        _show(located, "error", "red")
        is_refused = each.is_refused
        refused, unknown = refused + is_refused, unknown + (not is_refused)
    if refused:
        say(f"{path}: {counted(refused, 'mistake')}", style="red")
        return Exit.CONFIGURATION
    return Exit.FAILURE if unknown else Exit.OK


def mistakes(settings: Settings) -> tuple[Problem, ...]:
    """Return every mistake that shows only when the bridge is made."""
    from bridge.assembly import Draft, assemble

    try:
        assemble(settings, Draft())
    except ConfigurationError as error:
        return error.problems
    return ()


def _about_journal(settings: Settings) -> tuple[Problem, ...]:
    """Look at the journal as a start would. Raises `ConfigurationError` where that would fail."""
    from bridge.installed import check_journal

    try:
        told = tuple(check_journal(settings.journal))
    except ConfigurationError as error:
        raise ConfigurationError(settings.locate("journal", error)) from error
    return settings.locate("journal", ConfigurationError(told)) if told else ()


def _show(problems: Iterable[Problem], label: str, style: str) -> None:
    mark = "warning: " if label == "warning" else ""
    for problem in problems:
        if not is_terminal():
            print_line(str(attrs.evolve(problem, message=f"{mark}{problem.message}")))
            continue
        place = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
        key = styled(neutralise(problem.key), "bold")
        told = "  ".join(filter(None, (key, styled(neutralise(place), "dim"))))
        sys.stdout.write(f"{styled(f'{label:<7}', f'bold {style}')} {told}\n")
        print_wrapped(f"        {problem.message}")
