"""What `bridge init` asks for an adapter and writes of it, said beside the settings it is about.

::

    @attrs.frozen(kw_only=True)
    class Settings:
        tokens: tuple[Secret, ...] = attrs.field(default=(), metadata=setup(Chosen()))

Where no field of an adapter's `Settings` says so, `bridge init` chooses every secret there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import attrs

_KEY: Final = "bridge.adapter.setup"
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Chosen:
    """A secret that is ours to choose; `purpose` says what for, to those who need it elsewhere."""

    purpose: str | None = None


@attrs.frozen(kw_only=True)
class Given:
    """A secret that the provider gives out: `what` it is, and where it stands at the provider."""

    what: str


@attrs.frozen(kw_only=True)
class Rows:
    """Tables of an array, one for each value of `--channel`, such as 30058:whatsapp:6281519236680.

    `names` are the row's settings in the order in which such a value holds them, `form` shows
    it. `questions` are asked in a terminal, in this order; no answer to the first means no row.
    `defaults` stand in for what is empty.
    """

    names: tuple[str, ...]
    form: str
    questions: Mapping[str, str]
    defaults: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Several:
    """Words of a `Literal`, several of which may be given; `question` is asked in a terminal.

    No answer leaves the setting at its default.
    """

    question: str


_Part: TypeAlias = Chosen | Given | Rows | Several


def setup(part: _Part) -> dict[str, Any]:
    """Return the metadata of a field that `bridge init` asks for or writes."""
    return {_KEY: part}


def parts_of(settings: type[attrs.AttrsInstance], kind: type[T]) -> Iterator[tuple[str, T]]:
    """Yield the name of each setting that is said to be of this kind, and what is said of it."""
    for field in attrs.fields(settings):
        part = field.metadata.get(_KEY)
        if isinstance(part, kind):
            yield field.name, part
