"""Which callbacks `bridge trigger` posts: adapters' samples, or bodies out of a file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import attrs
import orjson

from bridge import installed
from bridge.adapter import Adapter, SampleSource
from bridge.adapter.body import read_object
from bridge.cli import config as configuration
from bridge.cli.bodies import bodies
from bridge.cli.changes import Change, changed
from bridge.cli.terminal import UsageError
from bridge.errors import ConfigurationError, MalformedBody
from bridge.model import JsonValue
from bridge.settings import Settings


@attrs.frozen(kw_only=True)
class Target:
    """A body to be posted to an adapter, and how that adapter's provider would do it.

    `content` is the body as it stands in its file, byte for byte; samples have none.
    """

    adapter: str
    label: str
    title: str = ""
    source: SampleSource = attrs.field(repr=False)
    body: JsonValue = attrs.field(default=None, repr=False)
    content: bytes | None = attrs.field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The sample's name as it is unique among all adapters."""
        return f"{self.adapter}/{self.label}"

    def made(self, changes: Sequence[Change], *, nonce: str | None = None, now: datetime) -> bytes:
        """Return the body's bytes, with the changes; with a nonce also with new ids and times.

        Raises `UsageError` where the body does not allow it.
        """
        if self.content is not None and not changes and nonce is None:
            return self.content
        body = self.value()
        if nonce is not None:
            body = self.source.freshen(body, nonce, now)
        return orjson.dumps(changed(body, changes))

    def value(self) -> JsonValue:
        """Return the body as JSON. Raises `UsageError` where it is none."""
        if self.content is None:
            return self.body
        try:
            return read_object(self.content)
        except MalformedBody as error:
            raise UsageError(f"{self.name}: {error}, so nothing in it can be changed") from error


def listed(config: Path | None, adapter: str | None) -> Sequence[Target]:
    """Return the configured adapters' samples; without a configuration, all there are."""
    try:
        path = configuration.find(config, or_example=True)
    except ConfigurationError:
        names = installed.adapters() if adapter is None else (adapter,)
        return [
            target for name in names for target in samples_of(name, installed.without_secrets(name))
        ]
    return configured(configuration.read(path), adapter)


def configured(settings: Settings, only: str | None) -> Sequence[Target]:
    """Return the samples of the configured adapters, or those of one of them."""
    names = settings.adapters if only is None else (only,)
    return [
        target
        for name in names
        for target in samples_of(name, configuration.adapter(settings, name))
    ]


def named(name: str, targets: Sequence[Target]) -> Target:
    """Return the sample of this name; the adapter's may be left out where that is clear."""
    found = [
        target
        for target in targets
        if name in (target.name, target.label, f"{target.adapter}-{target.label}")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(target.name for target in found)
        raise UsageError(f"several adapters have a sample {name!r}: {names}")
    known = [target.name for target in targets] + [target.label for target in targets]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "--list shows all of them"
    raise UsageError(f"there is no sample {name!r}; {hint}")


def from_file(file: Path, settings: Settings, only: str | None) -> Sequence[Target]:
    """Return the bodies of a file, for the adapter of this name or the only one there is."""
    if only is None:
        if len(settings.adapters) != 1:
            names = ", ".join(settings.adapters)
            raise UsageError(f"--from: say with --adapter whom the bodies are for: {names}")
        (only,) = settings.adapters
    source = configuration.adapter(settings, only)
    if not isinstance(source, SampleSource):
        raise UsageError(f"adapter {only} cannot sign bodies as its provider does")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    return [
        Target(adapter=only, label=f"{file.name}:{body.line}", source=source, content=body.content)
        for body in bodies(content)
    ]


def samples_of(name: str, adapter: Adapter) -> Iterator[Target]:
    """Return an adapter's samples, if it brings some."""
    if isinstance(adapter, SampleSource):
        for sample in adapter.samples():
            yield Target(
                adapter=name,
                label=sample.name,
                title=sample.title,
                source=adapter,
                body=sample.body,
            )
