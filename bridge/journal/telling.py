"""Several accounts of one thing: what one of them says that another does not, and their sum.

An account is an event. What it says are the fields that it fills in; where it came from and when
is not among them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from hashlib import blake2b
from typing import Any, Final, TypeVar

import attrs

from bridge.model import Event, Message
from bridge.model.frozen import evolved

E = TypeVar("E", bound=Event)

# What says how an account came about, or what the journal itself has set.
_NOT_SAID: Final = frozenset(
    {
        "key",
        "source",
        "domain",
        "account",
        "channel",
        "occurred_at",
        "received_at",
        "raw",
        "message_id",
        "id_space",
        "settle",
        "completes",
        "provider_status",
        "resolved",
        "advanced",
        "current",
    }
)
_ATOMS: Final = (str, int, float, Decimal, datetime, Enum, dict)


def news(account: Event, before: Event) -> frozenset[str]:
    """Return the fields that one account fills in and an earlier one does not.

    The content of a poorer account (one that still had to settle) is no news beside content of
    another kind.
    """
    said, known = set(_said(account, "")), set(_said(before, ""))
    if isinstance(account, Message) and isinstance(before, Message):
        if account.settle is not None and account.content.kind != before.content.kind:
            said = {path for path in said if not path.startswith("/content")}
        known |= {f"/aliases/{alias}" for alias in (*before.aliases, before.message_id)}
    else:
        # A status is of the conversation that its message has, whichever account names it.
        said = {path for path in said if not path.startswith(("/aliases", "/conversation"))}
    return frozenset(said - known)


def digest(fields: frozenset[str]) -> str:
    """Return what tells apart accounts by the fields that they add."""
    return blake2b("\n".join(sorted(fields)).encode(), digest_size=8).hexdigest()


def filled(full: E, other: Event) -> E:
    """Return an account with what it leaves open filled in from another one of the same thing."""
    filled_in = _filled(full, other)
    assert isinstance(filled_in, type(full))  # noqa: S101 - attrs.evolve keeps the class
    return filled_in


def _said(value: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - any value of the model
    if attrs.has(type(value)):
        if path == "/content":
            path = f"{path}:{value.kind}"
        for name in _fields(value.__class__):
            if path or name not in _NOT_SAID:
                yield from _said(getattr(value, name), f"{path}/{name}")
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            if path == "/aliases":
                yield f"{path}/{item}"
            else:
                yield from _said(item, f"{path}/{number}")
    elif isinstance(value, bool) or (isinstance(value, _ATOMS) and value not in ("", {})):
        yield path


def _filled(full: Any, other: Any, path: str = "") -> Any:  # noqa: ANN401 - any value of the model
    if full is None or full in ((), ""):
        return other
    if not attrs.has(type(full)) or type(full) is not type(other):
        return full
    changes = {}
    for name in _fields(full.__class__):
        mine = getattr(full, name)
        if not path and name in _NOT_SAID and name != "id_space":
            continue
        if not path and name == "aliases":
            own = getattr(full, "message_id", None)
            changes[name] = tuple(dict.fromkeys((*mine, *other.aliases)))
            changes[name] = tuple(alias for alias in changes[name] if alias != own)
            continue
        changes[name] = _filled(mine, getattr(other, name), f"{path}/{name}")
    return evolved(full, **changes)


@cache
def _fields(cls: Hashable) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))  # type: ignore[arg-type]  # a class is hashable
