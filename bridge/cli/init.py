"""`bridge init`: a configuration that works, with fresh secrets, and where to enter its address."""

from __future__ import annotations

import getpass
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, get_type_hints
from urllib.parse import quote, urlsplit

import attrs
from cyclopts import Parameter

from bridge import assembly
from bridge.adapter import SampleSource
from bridge.adapter.signing import Secret
from bridge.cli import config as configuration
from bridge.cli.check import mistakes
from bridge.cli.config import DEFAULT, ConfigOption
from bridge.cli.terminal import Exit, UsageError, print_line, say, talk
from bridge.errors import BridgeError, ConfigurationError
from bridge.settings import Settings, loads
from bridge.settings.wording import unknown

_FIRST: Final = "incs"
_NO_HOST: Final = "https://YOUR-HOST"
_SECRET_BYTES: Final = 32
_ONE_SECRET: Final = (Secret, Secret | None)
_SECRETS: Final = tuple[Secret, ...]


class Exists(BridgeError):
    """There is a file already, and it may hold somebody's only copy of a secret."""


@attrs.frozen(kw_only=True)
class _Recipe:
    """Which secrets of an adapter are ours to choose, and which its provider gives out."""

    chosen: tuple[str, ...] = ()
    given: Mapping[str, str] = attrs.field(factory=dict)


_RECIPES: Final[Mapping[str, _Recipe]] = {
    "incs": _Recipe(chosen=("tokens",)),
    "whatsapp": _Recipe(
        chosen=("verify_tokens",),
        given={"app_secrets": 'the app\'s secret, in its "App settings, Basic" at Meta'},
    ),
    "rcs": _Recipe(given={"client_tokens": "the clientToken of the webhook's settings at Google"}),
}


@attrs.frozen(kw_only=True)
class _Table:
    """What is written of one adapter; of `missing` secrets a random one stands in the place."""

    name: str
    secrets: Mapping[str, str] = attrs.field(repr=False)
    arrays: frozenset[str]
    missing: Mapping[str, str]
    channels: tuple[_Channel, ...] = ()

    def lines(self) -> Iterator[str]:
        yield f"[adapters.{self.name}]"
        for key, secret in self.secrets.items():
            if key in self.missing:
                yield f"# Put here {self.missing[key]}: this one is random."
            yield f'{key} = ["{secret}"]' if key in self.arrays else f'{key} = "{secret}"'
        for channel in self.channels:
            yield ""
            yield from channel.lines()


@attrs.frozen(kw_only=True)
class _Channel:
    """A channel of the INCS console, as `--channel` names it."""

    id: int
    kind: str
    phone: str | None = None

    @classmethod
    def parse(cls, text: str) -> _Channel:
        number, _, rest = text.partition(":")
        kind, _, phone = rest.partition(":")
        if not (number.isascii() and number.isdigit()):
            raise UsageError(
                f"--channel: expected ID:KIND:PHONE, such as 30058:whatsapp:6281…, found {text!r}"
            )
        return cls(id=int(number), kind=kind or "whatsapp", phone=phone or None)

    def lines(self) -> Iterator[str]:
        yield "[[adapters.incs.channels]]"
        yield f"id = {self.id}"
        yield f"kind = {_string(self.kind)}"
        if self.phone is not None:
            yield f"business_phone = {_string(self.phone)}"


def init(
    *,
    config: ConfigOption = None,
    adapter: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    channel: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    host: str | None = None,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
    force: bool = False,
) -> int:
    """Write a configuration that works, with fresh random secrets.

    In a terminal it asks for what is not said here. Prints, for each adapter, the address to
    enter in the provider's console; only you and the provider should see it.

    Example: `bridge init --adapter incs --host bridge.example.com --yes`

    Parameters
    ----------
    config
        The file to write; by default $BRIDGE_CONFIG, then ./config.toml.
    adapter
        Whom to take callbacks from, such as incs, whatsapp or rcs; can be repeated.
    channel
        A channel of the INCS console as ID:KIND:PHONE, such as 30058:whatsapp:6281519236680;
        can be repeated, and the phone may be left out.
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
    names = adapter or _asked_adapters(asking=asking)
    channels = tuple(map(_Channel.parse, channel))
    if channels and _FIRST not in names:
        raise UsageError("--channel goes with --adapter incs")
    if asking and _FIRST in names and not channels:
        channels = _asked_channels()
    tables = [
        _table(name, channels if name == _FIRST else (), asking=asking)
        for name in dict.fromkeys(names)
    ]
    if host is None and asking:
        host = _ask("Where does the world reach this server? (bridge.example.com; empty: later)")
    base = _base(host)
    text = _document(tables)
    settings = _checked(text, path)
    _write(path, text, force=force)
    _tell(path, settings, tables, base)
    return Exit.OK


# --- asking --------------------------------------------------------------------------------


def _ask(question: str, *, hidden: bool = False) -> str:
    say(question)
    try:
        if hidden:
            # It prompts by itself once nothing shows any more: what is typed earlier is lost.
            return getpass.getpass("> ").strip()
        talk.print("> ", end="")  # `input` would write it to standard output, which is for data
        return input().strip()
    except EOFError:  # Ctrl-D: nothing more will be said
        return ""


def _asked_adapters(*, asking: bool) -> Sequence[str]:
    if not asking:
        return (_FIRST,)
    offered = ", ".join(assembly.installed())
    answer = _ask(f"Whom do callbacks come from? ({offered}; several with commas; empty: {_FIRST})")
    return [name.strip() for name in answer.split(",") if name.strip()] or (_FIRST,)


def _asked_channels() -> tuple[_Channel, ...]:
    answer = _ask("The channel's id in the INCS console? (empty: later)")
    if not answer:
        return ()
    phone = _ask("Its business phone, with the country's code? (empty: later)")
    kind = _ask("Is it whatsapp, rcs or viber? (empty: whatsapp)")
    return (_Channel.parse(f"{answer}:{kind}:{phone}"),)


# --- composing -----------------------------------------------------------------------------


def _table(name: str, channels: tuple[_Channel, ...], *, asking: bool) -> _Table:
    offers = assembly.installed()
    if name not in offers:
        raise UsageError(unknown("installed adapter", name, offers))
    hints = get_type_hints(offers[name].load().Settings)
    recipe = _RECIPES.get(name) or _Recipe(
        chosen=tuple(key for key, hint in hints.items() if hint in (*_ONE_SECRET, _SECRETS))
    )
    values = {key: secrets.token_urlsafe(_SECRET_BYTES) for key in (*recipe.given, *recipe.chosen)}
    missing = dict(recipe.given)
    if asking:
        for key, description in recipe.given.items():
            question = f"{name}: {description}? (it does not show; empty: later)"
            given = _ask(question, hidden=True)
            if given:
                values[key] = _escaped(given)
                del missing[key]
    return _Table(
        name=name,
        secrets=values,
        arrays=frozenset(key for key in values if hints[key] == _SECRETS),
        missing=missing,
        channels=channels,
    )


def _document(tables: Sequence[_Table]) -> str:
    lines = [
        "# Every setting there is, with its default, is in config.example.toml.",
        "# This file holds secrets: keep it to yourself.",
    ]
    for table in tables:
        lines += ["", *table.lines()]
    lines += [
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
    settings = loads(text, assembly.settings_class, installed=assembly.installed(), path=path)
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
                os.link(temporary, path)  # unlike a renaming, it fails where somebody was faster
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


# --- telling -------------------------------------------------------------------------------


def _base(host: str | None) -> str:
    if not host:
        return _NO_HOST
    url = host if "://" in host else f"https://{host}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"--host: expected a name such as bridge.example.com, found {host!r}")
    return url.rstrip("/")


def _tell(path: Path, settings: Settings, tables: Sequence[_Table], base: str) -> None:
    say(f"{path} is written; only you can read it. Enter at each provider this address:")
    for table in tables:
        print_line(
            table.name, f"{base}{settings.server.prefix}/{table.name}{_tail(settings, table)}"
        )
    for table in tables:
        for key in _RECIPES.get(table.name, _Recipe()).chosen:
            if key == "verify_tokens":
                say(f"{table.name}: the token to verify with is in {path}, at {key}")
        for key, description in table.missing.items():
            say(f"{table.name}: to do: put {description}, into {path} at {key}")
    option = "" if path == DEFAULT else f" --config {path}"
    say(f"Next: bridge serve{option}")


def _tail(settings: Settings, table: _Table) -> str:
    """Return what the adapter wants at the end of its address."""
    adapter = configuration.adapter(settings, table.name)
    if not isinstance(adapter, SampleSource):
        return ""
    tail = adapter.authenticate(b"{}").tail
    return f"/{quote(tail)}" if tail else ""
