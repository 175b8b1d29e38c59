"""`bridge serve`: the server."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Annotated, Final

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from bridge import admin, log, web
from bridge.adapter import Adapter, SampleSource
from bridge.cli import config as configuration
from bridge.cli.check import doubts
from bridge.cli.config import ConfigOption
from bridge.cli.terminal import Exit, fail, say
from bridge.runtime import Bridge
from bridge.settings import Settings, SubscriberEntry

_LAST_PORT: Final = 65535
# Events hold no cycles, so there is little to find; what there is may wait a little.
_COLLECT_AFTER: Final = (20_000, 50, 100)
_HIDDEN: Final = "********"

_log: Final = logging.getLogger(__name__)


def serve(
    *,
    config: ConfigOption = None,
    host: str | None = None,
    port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=_LAST_PORT))] = None,
) -> int:
    """Take callbacks over HTTP until Ctrl-C or SIGTERM.

    What is under way when it is told to stop is finished first.

    Example: `bridge serve --config config.toml`

    Parameters
    ----------
    config
        The configuration; by default $BRIDGE_CONFIG, then ./config.toml.
    host
        Listen on this address instead of the configured one; 0.0.0.0 is every one.
    port
        Listen on this port instead of the configured one; 0 picks a free one.
    """
    path = configuration.find(config, or_example=False)
    settings = configuration.read(path)
    settings = _overridden(settings, host, port)
    bridge = Bridge.from_settings(settings)
    log.configure(settings.log, secrets=[secret for _, secret in configuration.secrets(settings)])
    for doubt in doubts(settings, path):
        _log.warning("%s", doubt)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(bridge, settings))
    except OSError as error:
        server = settings.server
        fail(f"cannot listen on {server.host} port {server.port}: {error.strerror or error}")
        return Exit.FAILURE
    _log.info("stopped")
    return Exit.OK


async def _serve(bridge: Bridge, settings: Settings) -> None:
    # Operators can look in from before the first callback until after the last delivery.
    async with admin.listening(bridge, settings.admin) as admin_url:
        ready = partial(_announce, bridge, settings, admin_url)
        await web.serve(bridge, settings.server, ready=ready)


def _overridden(settings: Settings, host: str | None, port: int | None) -> Settings:
    server = settings.server
    if host is not None:
        server = attrs.evolve(server, host=host)
    if port is not None:
        server = attrs.evolve(server, port=port)
    return attrs.evolve(settings, server=server)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed, which it is not on every system."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _announce(bridge: Bridge, settings: Settings, admin_url: str | None, url: str) -> None:
    """Tell what runs: in lines for people, or as a record where the log is for machines."""
    _spare_the_collector()
    version = metadata.version("incs-bridge")
    prefix = settings.server.prefix
    callbacks = {
        name: f"{url}{prefix}/{name}{_masked_tail(adapter)}"
        for name, adapter in bridge.adapters.items()
    }
    journal: str = settings.journal.engine
    if journal != "memory":
        journal = f"{journal} in {settings.journal.path}"
    if not log.is_readable(settings.log):
        _log.info(
            "listening on %s",
            url,
            extra={
                "version": version,
                "callbacks": list(callbacks.values()),
                "journal": journal,
                "subscribers": list(settings.subscribers),
                "admin": admin_url,
            },
        )
        return
    say(f"incs-bridge {version} is listening on {url} (Ctrl-C stops it)")
    for name, address in callbacks.items():
        say(f"  adapter     {name}: {address}")
    say(f"  journal     {journal}")
    for name, entry in settings.subscribers.items():
        say(f"  subscriber  {name}: {_subscription(entry)}")
    say(f"  admin       {admin_url or 'disabled'}")


def _spare_the_collector() -> None:
    """Let the garbage collector look at what comes and goes, and not at the program over again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _masked_tail(adapter: Adapter) -> str:
    """Return what an adapter wants at the end of its address, unreadable."""
    if isinstance(adapter, SampleSource) and adapter.authenticate(b"{}").tail:
        return f"/{_HIDDEN}"
    return ""


def _subscription(entry: SubscriberEntry) -> str:
    filters = (entry.channel, entry.account, entry.direction, entry.content)
    wanted = [", ".join(entry.events) or "every event", *(str(word) for word in filters if word)]
    return f"{' '.join(wanted)} → {entry.use}"
