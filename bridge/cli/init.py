"""`bridge init`: a configuration that works, with fresh secrets, and where to enter its address."""

from __future__ import annotations

import getpass
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_type_hints
from urllib.parse import quote, urlsplit

import attrs
from cyclopts import Parameter

from bridge import adapter as contract
from bridge import installed
from bridge.adapter.setup import Chosen, Given, Rows, Several, parts_of
from bridge.adapter.signing import Secret
from bridge.cli import config as configuration
from bridge.cli.config import DEFAULT, ConfigOption
from bridge.cli.terminal import Exit, UsageError, ask, print_named, say
from bridge.errors import ConfigurationError
from bridge.settings.wording import unknown

if TYPE_CHECKING:
    from bridge.settings import Settings

_OURS: Final = "incs-bridge"
_BOT: Final = Path("bot.py")
_NO_HOST: Final = "https://YOUR-HOST"
_SECRET_BYTES: Final = 32
_ONE_SECRET: Final = (Secret, Secret | None)
_SECRETS: Final = tuple[Secret, ...]


class Exists(UsageError):
    """There is a file already, and it may hold the only copy of a secret."""


@attrs.frozen(kw_only=True)
class _Table:
    """The lines of one adapter's table, and what its owner has to know of the secrets in it."""

    name: str
    lines: list[str] = attrs.field(factory=list, repr=False)
    notes: list[str] = attrs.field(factory=list)


def init(
    *,
    config: ConfigOption = None,
    adapter: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    channel: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    host: str | None = None,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
    force: bool = False,
) -> int:
    """Write a configuration that works, with fresh random secrets, and a first bot beside it.

    Beside ./config.toml, `bot.py` and `.gitignore` are written too unless they are there. In a
    terminal it asks for what is not said here. Prints, for each adapter, the address to enter in
    the provider's console; only you and the provider should see it.

    Example: `bridge init --adapter incs --host bridge.example.com --yes`

    Parameters
    ----------
    config
        The file to write; by default $BRIDGE_CONFIG, then ./config.toml.
    adapter
        Whom to take callbacks from, by a name that `bridge adapters` lists; can be repeated.
    channel
        For an adapter that serves several channels: one of them as ID:KIND:PHONE, by its id in
        the provider's console; can be repeated, and the phone may be left out.
    host
        Where the world reaches this server, such as bridge.example.com.
    yes
        Ask nothing.
    force
        Overwrite the file if there is one. Its secrets are gone then.
    """
    path = config or Path(os.environ.get(configuration.VARIABLE) or DEFAULT)
    if path.exists() and not force:
        raise Exists(f"{path} exists already; --force overwrites it, and its secrets are gone then")
    asking = sys.stdin.isatty() and not yes
    names = tuple(dict.fromkeys(adapter or _asked_adapters(asking=asking)))
    classes = {name: _settings_class(name) for name in names}
    if channel and not any(any(parts_of(cls, Rows)) for cls in classes.values()):
        raise UsageError(f"--channel goes with --adapter {' or '.join(_with_rows())}")
    tables = [_table(name, cls, channel, path, asking=asking) for name, cls in classes.items()]
    if host is None and asking:
        host = _ask("Where does the world reach this server? (bridge.example.com; empty: later)")
    base = _base(host)
    text = _document(tables, _keep(names))
    settings = _checked(text, path)
    _write(path, text, force=force)
    has_bot = path == DEFAULT and _write_first_bot()
    _tell(path, settings, tables, base, has_bot=has_bot)
    return Exit.OK


# --- asking --------------------------------------------------------------------------------


def _ask(question: str, *, hidden: bool = False) -> str:
    say(question)
    try:
        if hidden:
            # It prompts by itself once nothing shows any more: what is typed earlier is lost.
            return getpass.getpass("> ").strip()
        ask("> ")
        return input().strip()
    except EOFError:  # Ctrl-D: nothing more will be said
        return ""


def _asked_adapters(*, asking: bool) -> Sequence[str]:
    offered = installed.adapters()
    first = next(name for name, offer in offered.items() if offer.distribution == _OURS)
    if not asking:
        return (first,)
    answer = _ask(
        f"Whom do callbacks come from? ({', '.join(offered)}; several with commas; empty: {first})"
    )
    return _words(answer) or (first,)


def _words(answer: str) -> Sequence[str]:
    return [word.strip() for word in answer.split(",") if word.strip()]


def _asked_words(asked: Several, offered: Sequence[str]) -> Sequence[str]:
    """Return what is chosen of the words that are offered. Raises `UsageError` for any other."""
    chosen = _words(_ask(f"{asked.question} ({', '.join(offered)}; with commas; empty: all)"))
    for word in chosen:
        if word not in offered:
            raise UsageError(unknown("word", word, offered))
    return chosen


def _asked_rows(asked: Rows) -> Sequence[Mapping[str, str]]:
    answers: dict[str, str] = {}
    for name, question in asked.questions.items():
        answers[name] = _ask(question)
        if not next(iter(answers.values())):
            return ()
    return ({name: answers.get(name, "") for name in asked.names},)


# --- composing -----------------------------------------------------------------------------


def _settings_class(name: str) -> type[Any]:
    offers = installed.adapters()
    if name not in offers:
        raise UsageError(unknown("installed adapter", name, offers))
    return offers[name].load().Settings


def _with_rows() -> Iterator[str]:
    """Yield the installed adapters that `--channel` goes with."""
    for name, offer in installed.adapters().items():
        with suppress(ConfigurationError):  # one that is broken goes with nothing
            if any(parts_of(offer.load().Settings, Rows)):
                yield name


def _table(
    name: str, cls: type[Any], channels: Sequence[str], path: Path, *, asking: bool
) -> _Table:
    table = _Table(name=name, lines=[f"[adapters.{name}]"])
    hints = get_type_hints(cls)
    secret: dict[str, Chosen | Given] = dict((*parts_of(cls, Given), *parts_of(cls, Chosen)))
    if not secret:
        secret = {key: Chosen() for key, hint in hints.items() if hint in (*_ONE_SECRET, _SECRETS)}
    for key, part in secret.items():
        value = ""
        if isinstance(part, Given):
            if asking:
                question = f"{name}: {part.what}? (it does not show; empty: later)"
                value = _escaped(_ask(question, hidden=True))
            if not value:
                table.lines.append(f"# Put here {part.what}: this one is random.")
                table.notes.append(f"to do: put {part.what}, into {path} at {key}")
        elif part.purpose is not None:
            table.notes.append(f"{part.purpose} is in {path}, at {key}")
        quoted = f'"{value or secrets.token_urlsafe(_SECRET_BYTES)}"'
        table.lines.append(f"{key} = [{quoted}]" if hints[key] == _SECRETS else f"{key} = {quoted}")
    for key, several in parts_of(cls, Several):
        words = _asked_words(several, get_args(get_args(hints[key])[0])) if asking else ()
        if words:
            table.lines.append(f"{key} = [{', '.join(map(_string, words))}]")
    for key, rows in parts_of(cls, Rows):
        given = [_split(channel, rows) for channel in channels]
        for texts in given or (_asked_rows(rows) if asking else ()):
            table.lines.extend(("", f"[[adapters.{name}.{key}]]"))
            table.lines.extend(_row(texts, rows, hints[key]))
    return table


def _split(channel: str, rows: Rows) -> Mapping[str, str]:
    texts = channel.split(":", len(rows.names) - 1)
    return dict(zip_longest(rows.names, texts, fillvalue=""))


def _row(texts: Mapping[str, str], rows: Rows, array: Any) -> Iterator[str]:  # noqa: ANN401 - a type hint
    """Yield a row's settings, each as its class wants it. Raises `UsageError`."""
    hints = get_type_hints(get_args(array)[0])
    for name, text in texts.items():
        value = text or rows.defaults.get(name)
        if value is None:
            continue
        if hints[name] is not int:
            yield f"{name} = {_string(value)}"
        elif value.isascii() and value.isdigit():
            yield f"{name} = {int(value)}"
        else:
            found = ":".join(texts.values()).rstrip(":")
            raise UsageError(f"--channel: expected {rows.form}, found {found!r}")


def _keep(names: Sequence[str]) -> int | None:
    """Return for how many days the journal must know a callback, if that is longer than usual."""
    from bridge.settings import JournalSettings

    adapters: list[object] = [installed.load(name) for name in names]
    longest = max(
        (each.repeats_for for each in adapters if isinstance(each, contract.Repeating)),
        default=timedelta(),
    )
    return longest.days if longest.total_seconds() > JournalSettings().keep else None


def _document(tables: Sequence[_Table], keep: int | None) -> str:
    lines = [
        "# `bridge config` prints every setting there is, with its default and what it does.",
        "# This file holds secrets: keep it to yourself.",
    ]
    if keep is not None:
        lines += ["", "# A provider may repeat a callback for as long.", "[journal]"]
        lines.append(f'keep = "{keep}d"')
    for table in tables:
        lines += ["", *table.lines]
    lines += [
        "",
        "# Other users of this machine cannot read events without it; the commands find it here.",
        "[admin]",
        f'token = "{secrets.token_urlsafe(_SECRET_BYTES)}"',
        "",
        "# Every event as a line in the terminal. A function of yours is named in the same way:",
        '# use = "package.module:function".',
        "[subscribers.console]",
        'use = "console"',
    ]
    return "\n".join(lines) + "\n"


def _string(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    # `$` begins a reference to the environment unless it is doubled.
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "$${")
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _checked(text: str, path: Path) -> Settings:
    """Return the settings of a document. Raises `ConfigurationError` where it is wrong."""
    from bridge.cli.check import mistakes

    settings = installed.loads(text, path=path)
    problems = mistakes(settings)
    if problems:
        raise ConfigurationError(problems)
    return settings


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    try:
        # Its mode is 0600 from the beginning.
        number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
            if force:
                os.replace(temporary, path)  # noqa: PTH105 - a string, not a path
            else:
                os.link(
                    temporary, path
                )  # unlike a renaming, it fails where another process was faster
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


def _write_first_bot() -> bool:
    """Write a first program, and what git is to leave alone; return whether there was none."""
    program = resources.files("bridge.cli").joinpath("first_bot.txt").read_text("utf-8")
    ignored = f"# Secrets, and what people wrote.\n{DEFAULT}\n*.db\n*.db-*\n*.db.*\n"
    with suppress(FileExistsError), Path(".gitignore").open("x", encoding="utf-8") as file:
        file.write(ignored)
    with suppress(FileExistsError), _BOT.open("x", encoding="utf-8") as file:
        file.write(program)
        return True
    return False


# --- telling -------------------------------------------------------------------------------


def _base(host: str | None) -> str:
    if not host:
        return _NO_HOST
    url = host if "://" in host else f"https://{host}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"--host: expected a name such as bridge.example.com, found {host!r}")
    return url.rstrip("/")


def _tell(
    path: Path, settings: Settings, tables: Sequence[_Table], base: str, *, has_bot: bool
) -> None:
    say(f"{path} is written, and only you can read it. What to enter at each provider:")
    width = max(len(table.name) for table in tables)
    for table in tables:
        url = f"{base}{settings.server.prefix}/{table.name}{_tail(settings, table)}"
        print_named(table.name, url, width=width)
    for table in tables:
        for note in table.notes:
            say(f"{table.name}: {note}")
    if has_bot:
        say(f"{_BOT} is a first bot.")
        say(f"Next: bridge serve {_BOT.stem}:bridge --dev")
        return
    option = "" if path == DEFAULT else f" --config {path}"
    say(f"Next: bridge serve{option}")


def _tail(settings: Settings, table: _Table) -> str:
    """Return what the adapter wants at the end of its address."""
    adapter = configuration.adapter(settings, table.name)
    if not isinstance(adapter, contract.SampleSource):
        return ""
    tail = adapter.authenticate(b"{}").tail
    return f"/{quote(tail)}" if tail else ""
