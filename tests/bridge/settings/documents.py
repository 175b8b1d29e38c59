"""Documents of settings to try the reading with, and an adapter with every type there is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import attrs
import pytest

from bridge import installed, settings
from bridge.adapter.signing import Network, Secret
from bridge.errors import ConfigurationError, UnknownAdapter
from bridge.settings.reader import text_of
from bridge.settings.structure import Duration, Size


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen(kw_only=True)
class Channel:
    id: int
    kind: Literal["whatsapp", "rcs"]
    phone: str | None = None


@attrs.frozen(kw_only=True)
class Acme:
    """An adapter's settings, with everything that such a class may hold."""

    tokens: tuple[Secret, ...] = ()
    colour: Colour = Colour.RED
    level: Literal[1, 2, "high"] = 1
    ratio: float = 0.5
    insecure: bool = False
    code: int | str | None = None
    number: int | float = 0
    network: Network | None = None
    v4: IPv4Network | None = None
    pause: Duration | None = None
    chunk: Size = 0
    labels: Mapping[str, int] = MappingProxyType({})
    names: list[str] = attrs.field(factory=list)
    unique: frozenset[int] = frozenset()
    channels: tuple[Channel, ...] = ()
    owner: Channel | None = None
    home: Path = Path("/")
    _hidden: str = "x"
    greeting: str = attrs.field(default="hello", validator=attrs.validators.max_len(10))
    shout: str = attrs.field(default="", converter=str.upper)
    low: int = 0
    high: int = attrs.field(default=9)

    @high.validator
    def _check_high(self, _attribute, value):
        if value < self.low:
            raise ValueError("high is below low")


def cannot_be_imported():
    raise UnknownAdapter("adapter broken cannot be imported")


ADAPTERS = {"acme": lambda: Acme, "broken": cannot_be_imported}


def loads(text, adapters=ADAPTERS, environ=os.environ, **more):
    return settings.loads(text, adapters, environ, engines=installed.engines(), **more)


def read(text, **environ):
    return loads(text, environ=environ)


def load(path, adapters=ADAPTERS, environ=os.environ):
    path = Path(path)
    return loads(text_of(path), adapters, environ, path=path)


def acme(text, **environ):
    return read(f"[adapters.acme]\n{text}", **environ).adapters["acme"].settings


def problems(text, **environ):
    with pytest.raises(ConfigurationError) as caught:
        read(text, **environ)
    return [(problem.line, problem.key, problem.message) for problem in caught.value.problems]
