"""What is valid in a configuration, and unsafe: the warnings of `bridge check` and `serve`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bridge import installed
from bridge.adapter import Repeating
from bridge.adapter.signing import Secret
from bridge.cli import config as configuration
from bridge.errors import Problem
from bridge.settings import SelfCritical, Settings, toml
from bridge.settings.admin import is_loopback
from bridge.settings.references import defaults, files, resolve

_EXAMPLE: Final = "example"  # every secret of config.example.toml has this word in it
_SHORTEST: Final = 16
_DAY: Final = 86_400  # seconds
# A group that reads is how a service gets a file that is root's: `root:bridge`, mode 640.
_TOO_OPEN: Final = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP
_OPEN: Final = "that others may read, or its group write: `chmod 640` or `600` it"
# A proxy's network is never so large: shorter prefixes are whole parts of the internet.
_SHORTEST_PREFIX: Final = {4: 8, 6: 16}


def doubts(settings: Settings, path: Path) -> Iterator[Problem]:
    """Yield what is valid in the file that the settings are from, and unsafe all the same."""
    document = settings.document or toml.parse("")
    values, _ = resolve(document, os.environ, path.parent)
    for key, message in (
        *_about_secrets(settings, document, values, is_open=_is_open(path)),
        *_about_files(settings, document, path.parent),
        *_about_networks(settings),
        *_about_repetition(settings, document),
        *_about_accounts(settings),
        *_told_by_settings(settings),
    ):
        yield document.problem(key, message)


def _about_secrets(
    settings: Settings, document: toml.Document, values: object, *, is_open: bool
) -> Iterator[tuple[str, str]]:
    seen: dict[Secret, str] = {}
    for place, secret in configuration.found(settings, Secret):
        key, text = toml.dotted(place), secret.reveal()
        if _EXAMPLE in text.lower():
            yield key, "this is the example's, which everybody knows: set one of your own"
        elif len(text) < _SHORTEST:
            yield key, f"shorter than {_SHORTEST} characters, so it may be guessed"
        elif any(map(len, defaults(toml.at(document.value, place)))):
            yield key, "the default after `:-` is a secret in this file: leave it out"
        elif is_open and type(toml.at(values, place)) is str:  # from elsewhere: `Referenced`
            yield key, f"a secret in a file {_OPEN}, or use ${{VARIABLE}}"
        if text != text.strip() or not text.isprintable():
            yield key, "white space at an end or control characters: it may never match"
        if "tokens" in place and (not text.strip("/") or {".", ".."} & set(text.split("/"))):
            yield key, "can never match: at the end of an address a client leaves it out"
        elif "tokens" in place and text != text.strip("/"):
            yield key, "slashes at its ends do not count"
        first = seen.setdefault(secret, key)
        if first != key:
            yield key, f"the same as {first}: one that leaks opens both"
    for name, entry in settings.adapters.items():
        if getattr(entry.settings, "insecure", False):
            yield f"adapters.{name}.insecure", "anybody can send callbacks"


def _about_files(
    settings: Settings, document: toml.Document, directory: Path
) -> Iterator[tuple[str, str]]:
    named = ((toml.dotted(place), path) for place, path in configuration.found(settings, Path))
    for key, path in (*files(document, os.environ, directory), *named):
        if _is_open(path):
            yield key, f"{path} is a file {_OPEN}"


def _is_open(path: Path) -> bool:
    return path.is_file() and bool(path.stat().st_mode & _TOO_OPEN)


def _about_networks(settings: Settings) -> Iterator[tuple[str, str]]:
    admin = settings.admin
    if admin.enabled and not is_loopback(admin.host):
        yield (
            "admin.host",
            "others can read the token and every event, as this is plain HTTP: use 127.0.0.1",
        )
    told = {} if settings.document is None else settings.document.value.get("admin", {})
    if admin.enabled and admin.own_socket and told.get("port"):
        yield "admin.port", f"for `serve --dev` alone without a token: else it is {admin.socket}"
    for index, network in enumerate(settings.server.trusted_proxies):
        if network.prefixlen < _SHORTEST_PREFIX[network.version]:
            yield (
                f"server.trusted_proxies[{index}]",
                "as large as a part of the internet: anybody in it can forge X-Forwarded-For",
            )


def _about_repetition(settings: Settings, document: toml.Document) -> Iterator[tuple[str, str]]:
    keep = settings.journal.keep
    for name, entry in settings.adapters.items():
        adapter: object = installed.load(entry.type)
        if not isinstance(adapter, Repeating):
            continue
        if keep < adapter.repeats_for.total_seconds():
            days = adapter.repeats_for.days
            # A file that says nothing of it has the adapter's line.
            key = f"adapters.{name}" if document.line("journal") is None else "journal.keep"
            told = (
                f"{name} repeats callbacks for {days} days, and the journal keeps events for "
                f'{keep / _DAY:g}: set keep = "{days}d" below [journal], or what is gone comes '
                "out twice"
            )
            yield key, told


def _about_accounts(settings: Settings) -> Iterator[tuple[str, str]]:
    domains = {entry.domain or name for name, entry in settings.adapters.items()}
    for name, entry in settings.subscribers.items():
        if len(domains) > 1 and entry.account and entry.domain is entry.source is None:
            told = "another domain's callbacks may name it too: add `domain` or `source`"
            yield f"subscribers.{name}.account", told


def _told_by_settings(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what an engine's or an adapter's own settings find unsafe in themselves."""
    tables = {f"journal.{settings.journal.engine}": settings.journal.own} | {
        f"adapters.{name}": entry.settings for name, entry in settings.adapters.items()
    }
    for table, own in tables.items():
        if isinstance(own, SelfCritical):
            for problem in own.doubts():
                yield f"{table}.{problem.key}", problem.message
