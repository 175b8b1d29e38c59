"""What `bridge serve` does: the server, from its start to its end."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import importlib
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from bridge import assembly
from bridge.adapter import Adapter, SampleSource
from bridge.adapter.signing import Secret
from bridge.cli import config as configuration
from bridge.cli.descriptors import with_room
from bridge.cli.doubts import doubts
from bridge.cli.samples import samples_of
from bridge.cli.serve import DEVELOPING
from bridge.cli.stopping import Stopping
from bridge.cli.terminal import Exit, UsageError, counted, say
from bridge.delivery.functions import name_of
from bridge.delivery.subscriber import Subscriber
from bridge.errors import ConfigurationError, Problem
from bridge.ingress import server
from bridge.ingress.server import Listener
from bridge.model import Event
from bridge.ops import admin, log
from bridge.ops.metrics import Metrics
from bridge.outbox.ways import FOLLOWER, NAME
from bridge.process.raised import raised_at
from bridge.runtime import Bridge
from bridge.settings import AdminSettings, Settings
from bridge.settings.admin import is_loopback

if TYPE_CHECKING:
    from bridge.testing.chat import Chat

# Events hold no cycles, so there is little to find; what there is may wait a little.
_COLLECT_AFTER: Final = (20_000, 50, 100)
_PROGRAM: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")
_HIDDEN: Final = "********"
_TO_FLUSH: Final = 1.0  # seconds for the log's last lines
_LOOK_EVERY: Final = 0.2  # seconds; how soon the end of what started it is seen

_log: Final = logging.getLogger(__name__)


def run(
    program: str | None,
    path: Path | None,
    *,
    host: str | None,
    port: int | None,
    log_format: str | None,
) -> int:
    """Serve a program's bridge, or without one that of a configuration, until a signal."""
    if path is None:
        bridge = programmed(program or "")
    else:
        bridge = Bridge.from_settings(configuration.read(path))
    settings = attrs.evolve(
        bridge.settings,
        server=attrs.evolve(bridge.server, **_given(host=host, port=port)),
        log=attrs.evolve(bridge.settings.log, **_given(format=log_format)),
    )
    is_elsewhere = host is not None or port is not None or settings.server.port == 0
    log.configure(
        settings.log,
        secrets=[secret for _, secret in configuration.found(settings, Secret)],
        whole_tracebacks=DEVELOPING in os.environ,
    )
    with suppress(AttributeError, OSError, ValueError):  # without standard error there is nobody
        faulthandler.enable()  # what ends the process from within C, as a bad descriptor may
    if DEVELOPING in os.environ:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    settings = attrs.evolve(settings, server=with_room(settings.server))
    for doubt in doubts(settings, settings.path) if settings.path is not None else ():
        _log.warning("%s", doubt)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            _run(runner.get_loop(), _serve(bridge, settings, is_elsewhere=is_elsewhere))
        except asyncio.CancelledError:
            _log.info("stopped before it had started")
        else:
            _log.info("stopped")
        _mend_streams()
        # The interpreter would wait for some of what is left behind, and fail over the rest.
        if not log.flush(_TO_FLUSH) or bridge.at_work:
            os._exit(Exit.OK)
    return Exit.OK


def _mend_streams() -> None:
    """Let the command end as it should though somebody has closed standard output or error."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (AttributeError, OSError, ValueError):
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the end


def _end_with(parent: int) -> None:
    """Stop once the process that started this one is gone, though nothing told us to."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


def _run(loop: asyncio.AbstractEventLoop, server: Coroutine[Any, Any, None]) -> None:
    """Run the server to its end, also where a subscriber's own task ends the event loop."""
    task = loop.create_task(server)
    while not task.done():
        try:
            loop.run_until_complete(task)
        except RuntimeError:
            if task.done():
                raise
            _log.critical("the event loop was stopped from within, and goes on")
        except (SystemExit, KeyboardInterrupt) as error:  # of somebody's own task or callback
            if task.done():
                raise
            _log.critical(
                "%s at %s would have ended the server, which goes on",
                type(error).__name__,
                raised_at(error),
            )


async def _serve(bridge: Bridge, settings: Settings, *, is_elsewhere: bool) -> None:
    # The bridge runs from before the first callback until after the last, and operators can look
    # in from before its start until after its end.
    within = settings.server.drain_timeout
    with Stopping(within, lambda: _words(bridge.at_work)) as stopping, stopping.only_by_signals():
        async with (
            _rehearsing(bridge) as chat,
            _administered(bridge, settings.admin, chat) as admin_url,
            bridge,
            server.listening(bridge.intake, settings.server) as listener,
        ):
            if chat is not None:
                chat.direct(bridge.adapters, f"{listener.url}{settings.server.prefix}")
            waiting = await _tried_at_once(bridge) if DEVELOPING in os.environ else {}
            _announce(
                bridge,
                settings,
                is_elsewhere=is_elsewhere,
                admin_url=admin_url,
                url=listener.url,
                waiting=waiting,
            )
            told = await stopping.wait()
            awaited = _awaited(listener, bridge)
            _log.info(
                "%s: stopping%s",
                f"{told.name} (which does not read the configuration again)"
                if told is signal.SIGHUP
                else told.name,
                f", after at most {within:g} seconds for {awaited}" if awaited else "",
            )
            until = time.monotonic() + within
            if not bridge.journal.durable:  # what still comes has to be delivered too
                await listener.drain(within)
            await asyncio.gather(
                listener.drain(within), bridge.drain(max(0.0, until - time.monotonic()))
            )


async def _tried_at_once(bridge: Bridge) -> Mapping[str, str]:
    """Let what waits for its next try be due now; return what waits of each subscriber."""
    told: dict[str, str] = {}
    for state in await bridge.journal.subscribers():
        counts = {"new": state.lag, "to be tried again": state.held, "dead": state.dead}
        if words := [f"{count} {word}" for word, count in counts.items() if count]:
            told[state.name] = f" ({', '.join(words)})"
    for delivery in bridge.deliveries.values():  # after it was counted: it may be quick
        await delivery.wake(at_once=True)
    return told


def _awaited(listener: Listener, bridge: Bridge) -> str:
    requests = counted(listener.under_way, "request") if listener.under_way else ""
    return ", ".join(filter(None, (requests, _words(bridge.at_work))))


def _words(at_work: Mapping[str, Sequence[str]]) -> str:
    """Return who is at work on what, as far as it fits into a line."""
    return ", ".join(
        f"{name} at work on {keys[0]}" + (f" and {len(keys) - 1} more" if keys[1:] else "")
        for name, keys in at_work.items()
    )


@asynccontextmanager
async def _rehearsing(bridge: Bridge) -> AsyncIterator[Chat | None]:
    """Let users be simulated until the block ends, while somebody develops."""
    if DEVELOPING not in os.environ:
        yield None
        return
    from bridge.testing.chat import rehearsing

    async with rehearsing(bridge) as chat:
        yield chat


@asynccontextmanager
async def _administered(
    bridge: Bridge, settings: AdminSettings, chat: Chat | None
) -> AsyncIterator[str | None]:
    """Answer operators until the block ends; give where, or None where it is disabled."""
    if not settings.enabled:
        yield None
        return
    metrics = Metrics()
    bridge.observe(metrics)
    routes = () if chat is None else chat.routes()
    is_developing = DEVELOPING in os.environ
    if is_developing and is_loopback(settings.host):
        # A browser on this machine needs none, and the commands still find the port.
        settings = attrs.evolve(
            settings, token=None, tokens={}, readers={}, socket=settings.own_socket
        )
    async with admin.listening(
        bridge.operators, metrics, settings, developing=is_developing, chat=routes
    ) as url:
        yield url


def programmed(program: str) -> Bridge:
    """Return the bridge of a program, MODULE:NAME or MODULE alone with a bridge called `bridge`.

    Raises `ConfigurationError` where it cannot be imported or is none.
    """
    module, _, name = program.partition(":")
    if not _PROGRAM.fullmatch(program):
        raise UsageError(f"expected MODULE:NAME such as bot:bridge, found {program!r}")
    configuration.make_importable(Path.cwd())
    found = assembly.imported(f"{module}:{name or 'bridge'}", program)
    if isinstance(found, Bridge):
        return found
    others = [key for key, value in vars(sys.modules[module]).items() if isinstance(value, Bridge)]
    hint = f"; did you mean {module}:{others[0]}?" if others else ""
    raise ConfigurationError((Problem(program, f"there is no Bridge of this name{hint}"),))


def _given(**options: object) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed, which it is not on every system."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _announce(
    bridge: Bridge,
    settings: Settings,
    *,
    is_elsewhere: bool,
    admin_url: str | None,
    url: str,
    waiting: Mapping[str, str],
) -> None:
    """Tell what runs: in lines for people, or as a record where the log is for machines.

    `is_elsewhere` says that the configuration does not tell where the server listens, `waiting`
    what waits of each subscriber.
    """
    spare_the_collector()
    version = metadata.version("incs-bridge")
    prefix = settings.server.prefix
    callbacks = {
        name: f"{url}{prefix}/{name}{_masked_tail(adapter)}"
        for name, adapter in bridge.adapters.items()
    }
    journal = bridge.journal.location
    if not log.is_readable(settings.log):
        _log.info(
            "listening on %s",
            url,
            extra={
                "version": version,
                "callbacks": list(callbacks.values()),
                "journal": journal,
                "subscribers": [each.name for each in bridge.bus.subscribers],
                "admin": admin_url,
            },
        )
        return
    _say(f"incs-bridge {version} is listening on {url} (Ctrl-C stops it)")
    for name, address in callbacks.items():
        _say(f"  adapter     {name}: {address}")
    _say(f"  journal     {journal}")
    for each in bridge.bus.subscribers:
        if each.name in (NAME, FOLLOWER) and each.name not in waiting:
            continue  # the bridge's own
        entry = settings.subscribers.get(each.name)
        function = name_of(each.function) if entry is None else entry.use
        words = f"{_wanted(each)} → {function}{waiting.get(each.name, '')}"
        _say(f"  subscriber  {each.name}: {words}")
    _say(f"  admin       {admin_url or 'disabled'}{_inspector(settings)}")
    sample = _sample(bridge)
    if sample is not None and settings.path is not None:
        is_default = settings.path.absolute() == configuration.DEFAULT.absolute()
        config = "" if is_default else f" --config {settings.path}"
        elsewhere = f" --url {url}" if is_elsewhere else ""
        _say("Next, in another terminal:")
        _say(f"  bridge trigger {sample}{config}{elsewhere}")


def _say(text: str) -> None:
    """Tell people, if there are any: a server runs where nobody can read it, too."""
    with suppress(AttributeError, OSError, ValueError):
        say(text)


def _inspector(settings: Settings) -> str:
    if not settings.admin.enabled:
        return ""
    if DEVELOPING in os.environ:
        asked = (
            "it asks nobody on this machine for a token"
            if is_loopback(settings.admin.host)
            else "with the token"
        )
        return f" (open it in a browser to chat with the bot; {asked})"
    return " (open it in a browser, with the token)" if settings.admin.own_token else ""


def spare_the_collector() -> None:
    """Let the garbage collector look at what comes and goes, and not at the program over again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _sample(bridge: Bridge) -> str | None:
    """Return the name of a sample to begin with: a text, where there is one."""
    targets = [
        target for name, adapter in bridge.adapters.items() for target in samples_of(name, adapter)
    ]
    if not targets:
        return None
    first = next((target for target in targets if target.label.endswith("text")), targets[0])
    labels = [target.label for target in targets]
    return first.label if labels.count(first.label) == 1 else first.name


def _masked_tail(adapter: Adapter) -> str:
    """Return what an adapter wants at the end of its address, unreadable."""
    if isinstance(adapter, SampleSource) and adapter.authenticate(b"{}").tail:
        return f"/{_HIDDEN}"
    return ""


def _wanted(subscriber: Subscriber) -> str:
    events = ", ".join(each.kind for each in subscriber.events if each is not Event)
    contents = [each.kind for each in subscriber.content]
    filters = (subscriber.channel, subscriber.account, subscriber.direction, *contents)
    return " ".join([events or "every event", *(str(word) for word in filters if word)])
