"""`bridge trigger`: post sample callbacks to a running server, as the provider would."""

from __future__ import annotations

import asyncio
import difflib
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

import attrs
import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from cyclopts import Parameter
from rich.progress import Progress
from yarl import URL

from bridge import registry
from bridge.adapter import Adapter, Sample, SampleSource
from bridge.cli import config as configuration
from bridge.cli.adapters import without_secrets
from bridge.cli.config import ConfigOption
from bridge.cli.terminal import Exit, UsageError, print_line, talk
from bridge.errors import BridgeError, ConfigurationError
from bridge.payload import mapping, text
from bridge.settings import ServerSettings, Settings

_MANY: Final = 10
_MAX_ANSWER: Final = 64 * 1024
_TIMEOUT: Final = ClientTimeout(total=30)
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach it


class Unreachable(BridgeError):
    """Nobody answers at the server's address."""


@attrs.frozen(kw_only=True)
class Target:
    """A sample, and the adapter that it is for."""

    adapter: str
    source: SampleSource = attrs.field(repr=False)
    sample: Sample

    @property
    def name(self) -> str:
        """The sample's name as it is unique among all adapters."""
        return f"{self.adapter}/{self.sample.name}"


def trigger(
    *samples: str,
    every: Annotated[bool, Parameter(name="--all")] = False,
    listing: Annotated[bool, Parameter(name="--list")] = False,
    json: bool = False,
    config: ConfigOption = None,
    url: str | None = None,
    adapter: str | None = None,
    keep_ids: bool = False,
) -> int:
    """Post sample callbacks to a running server.

    They get new ids and times in each run. Prints a line for each: its name and what the
    server answered.

    Example: `bridge trigger whatsapp-text incs/status-read`

    Parameters
    ----------
    samples
        The samples' names, as `--list` shows them; without the adapter's where that is clear.
    every
        Post every sample.
    listing
        Print the samples' names and titles, and post nothing.
    json
        With --list: print a JSON array.
    config
        The configuration; by default $BRIDGE_CONFIG, then ./config.toml, then the example.
    url
        The server, such as http://127.0.0.1:8080; by default where the configuration says.
    adapter
        Take the samples of this configured adapter only.
    keep_ids
        Post the samples as they are documented; the second time they are duplicates.
    """
    if listing:
        _print_list(_listed(config, adapter), as_json=json)
        return Exit.OK
    if every == bool(samples):
        raise UsageError("give the names of samples, or --all for all of them; --list shows them")
    path = configuration.find(config, or_example=True)
    settings = configuration.read(path)
    targets = _configured(settings, adapter)
    chosen = targets if every else [_named(name, targets) for name in samples]
    server = _address(settings.server) if url is None else _checked(url)
    try:
        accepted = asyncio.run(
            _post_all(chosen, server + settings.server.prefix, keep_ids=keep_ids)
        )
    except (ClientError, TimeoutError) as error:
        # Its type only: the text may hold the whole address, and with it the token.
        raise Unreachable(
            f"nobody answers at {server} ({type(error).__name__}); "
            f"start the server with: bridge serve --config {path}"
        ) from error
    return Exit.OK if accepted else Exit.FAILURE


# --- which samples -------------------------------------------------------------------------


def _listed(config: Path | None, adapter: str | None) -> Sequence[Target]:
    """Return the configured adapters' samples; without a configuration, all there are."""
    try:
        path = configuration.find(config, or_example=True)
    except ConfigurationError:
        names = registry.installed() if adapter is None else (adapter,)
        return [target for name in names for target in _samples(name, without_secrets(name))]
    return _configured(configuration.read(path), adapter)


def _configured(settings: Settings, only: str | None) -> Sequence[Target]:
    names = settings.adapters if only is None else (only,)
    return [
        target for name in names for target in _samples(name, configuration.adapter(settings, name))
    ]


def _samples(name: str, adapter: Adapter) -> Iterable[Target]:
    if isinstance(adapter, SampleSource):
        for sample in adapter.samples():
            yield Target(adapter=name, source=adapter, sample=sample)


def _named(name: str, targets: Sequence[Target]) -> Target:
    found = [target for target in targets if name in (target.name, target.sample.name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(target.name for target in found)
        raise UsageError(f"several adapters have a sample {name!r}: {names}")
    known = [target.name for target in targets] + [target.sample.name for target in targets]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "--list shows all of them"
    raise UsageError(f"there is no sample {name!r}; {hint}")


def _print_list(targets: Iterable[Target], *, as_json: bool) -> None:
    if as_json:
        rows = [{"name": target.name, "title": target.sample.title} for target in targets]
        sys.stdout.write(orjson.dumps(rows).decode() + "\n")
        return
    for target in targets:
        print_line(target.name, target.sample.title)


# --- posting them --------------------------------------------------------------------------


def _address(server: ServerSettings) -> str:
    """Return where the configured server is reached from this machine."""
    if server.port == 0:
        raise UsageError("the configured port is 0, so only the server knows it: give --url")
    host = _EVERYWHERE.get(server.host, server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}"


def _checked(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise UsageError(f"--url: expected an address such as http://127.0.0.1:8080, found {url!r}")
    return url.rstrip("/")


async def _post_all(targets: Sequence[Target], base: str, *, keep_ids: bool) -> bool:
    """Post samples one after the other; return whether all of them were accepted."""
    nonce = secrets.token_hex(8)
    accepted = True
    async with ClientSession(timeout=_TIMEOUT) as session:
        for target in _watched(targets):
            body = target.sample.body
            if not keep_ids:
                body = target.source.freshen(body, nonce, datetime.now(UTC))
            accepted &= await _post(session, base, target, orjson.dumps(body))
    return accepted


async def _post(session: ClientSession, base: str, target: Target, body: bytes) -> bool:
    outgoing = target.source.authenticate(body)
    url = f"{base}/{target.adapter}"
    if outgoing.tail:
        url += f"/{quote(outgoing.tail)}"
    headers = {"Content-Type": "application/json", **outgoing.headers}
    async with session.post(
        URL(url, encoded=True), data=outgoing.body, headers=headers, allow_redirects=False
    ) as response:
        print_line(target.name, f"{response.status} {response.reason}", await _detail(response))
        return HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES


async def _detail(response: ClientResponse) -> str:
    """Return what a problem (RFC 9457) says is wrong, or nothing."""
    if response.content_type != "application/problem+json":
        return ""
    try:
        problem = orjson.loads(await response.content.read(_MAX_ANSWER))
    except orjson.JSONDecodeError:
        return ""
    return text(mapping(problem).get("detail")) or ""


def _watched(targets: Sequence[Target]) -> Iterator[Target]:
    """Return the targets, with a bar that shows how far it is."""
    # With standard output on the terminal too, the lines themselves show it.
    if len(targets) < _MANY or not talk.is_terminal or sys.stdout.isatty():
        yield from targets
        return
    # Left to itself, rich would catch what goes to standard output.
    with Progress(console=talk, transient=True, redirect_stdout=False) as progress:
        yield from progress.track(targets, description="posting")
