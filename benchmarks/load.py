"""Put load on a server from another core, and say what came of it.

A figure counts only if every request was answered with 200 and every answered message reached
every subscriber; `Faulty` says what is missing, and then there is no figure.
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import orjson

from benchmarks.bodies import PATH, SIGNATURE, Batch, signed, texts, write
from benchmarks.contenders import ROOT, Server, pinned
from benchmarks.figures import Faulty

_FASTEST = 30_000  # messages per second, which are prepared while nothing is known of a server
_MARGIN = 1.5  # how much faster than ever before a server might be
_PACED_MARGIN = 1.1  # how many more requests than intended may be due, which is up to chance
_PATIENCE = 30.0  # seconds without an event before what is missing counts as lost
_TOGETHER = 100
_UNUSUAL = 0.95


@attrs.frozen(kw_only=True)
class Load:
    """How a server is loaded: as fast as it answers, or with `rate` requests per second."""

    seconds: int = 1
    connections: int = 64
    items: int = 1
    users: int = 5000
    rate: float = 0.0


@attrs.frozen(kw_only=True)
class Result:
    """What a load brought: milliseconds, mebibytes, seconds."""

    rate: float
    """Requests per second that were answered and handled."""
    asked: float
    """Requests per second that were answered."""
    cpu: float
    """Microseconds of the server's processor time for each request, which a busy machine disturbs
    least."""
    events: int
    p50: float
    p99: float
    p999: float
    memory: float
    catch_up: float
    """Seconds from the last answer until every subscriber had everything."""
    generator: float
    """How busy the generator's own core was, as a share."""


@attrs.frozen(kw_only=True)
class Told:
    """What the load generator says in the end, as `load.lua` prints it; the times in µs."""

    requests: int
    """How many were answered."""
    microseconds: int
    refused: int
    broken: int
    exhausted: bool
    """Whether more could have been sent than was prepared."""
    busy: float
    p50: int
    p99: int
    p999: int

    @classmethod
    def read(cls, output: bytes) -> Told:
        """Read the last line. Raises `Faulty` unless it says that every request was answered."""
        try:
            told = cls(**orjson.loads(output.splitlines()[-1]))
        except (IndexError, TypeError, orjson.JSONDecodeError) as error:
            raise Faulty("wrk did not say what came of the load") from error
        if told.refused or told.broken:
            raise Faulty(f"{told.refused:,} requests refused, {told.broken:,} broken")
        if not told.requests:
            raise Faulty("no request was answered")
        return told

    def result(
        self, *, catch_up: float, processor_time: float, events: int, memory: float
    ) -> Result:
        """Return what it was worth, once everything that was answered has been handled."""
        took = self.microseconds / 1e6
        return Result(
            rate=self.requests / (took + catch_up),
            asked=self.requests / took,
            cpu=processor_time / self.requests * 1e6,
            events=events,
            p50=self.p50 / 1000,
            p99=self.p99 / 1000,
            p999=self.p999 / 1000,
            memory=memory,
            catch_up=catch_up,
            generator=self.busy,
        )


def check_tools() -> None:
    """Say how to get what is missing. Raises `SystemExit`."""
    for tool, how in (("wrk", "apt-get install wrk"), ("taskset", "apt-get install util-linux")):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is needed to measure over HTTP: {how}")


def put_load(server: Server | Faulty, load: Load) -> Result:
    """Load a server, wait until everything has been handled, and check that. Raises `Faulty`."""
    if isinstance(server, Faulty):  # it did not even start
        raise server
    likely = likely_rate(load, server.fastest.get(load.items))
    while True:
        try:
            result = _put(server, load, int(likely * load.seconds) + load.connections)
        except Faulty as fault:
            raise Faulty(f"{server.contender.title}: {fault}") from fault
        if result is not None:
            if not load.rate:
                server.fastest[load.items] = max(server.fastest.get(load.items, 0.0), result.asked)
            return result
        likely *= 2  # it answered more than was prepared for, so that it had to wait


def likely_rate(load: Load, fastest: float | None) -> float:
    """Return how many requests may be asked for in a second, at most.

    `fastest` is what the server has answered with so many messages in each, if that is known.
    """
    if load.rate:
        return load.rate * _PACED_MARGIN
    return fastest * _MARGIN if fastest else _FASTEST / load.items


def _put(server: Server, load: Load, prepared: int) -> Result | None:
    """Send at most the prepared number of requests; return None where they were too few."""
    requests = server.folder / "requests"
    write(Batch(requests=prepared, items=load.items, port=server.port, users=load.users), requests)
    before, busy = server.handled(), server.processor_time()
    output = _generate(server.port, load, requests)
    ended = time.perf_counter()
    told = Told.read(output)
    catch_up = await_events(server.handled, before, told.requests * load.items) - ended
    busy = server.processor_time() - busy
    requests.unlink()
    if told.exhausted:
        return None
    return told.result(
        catch_up=catch_up,
        processor_time=busy,
        events=min(now - then for now, then in zip(server.handled(), before, strict=True)),
        memory=server.memory(),
    )


def _generate(port: int, load: Load, requests: Path) -> bytes:
    """Run the load generator; return what it printed. Raises `Faulty`."""
    output = subprocess.run(
        [
            *pinned(1),
            *("wrk", "-t1", f"-c{load.connections}", f"-d{load.seconds}s", "--timeout", "10s"),
            *("-s", str(ROOT / "benchmarks" / "load.lua"), f"http://127.0.0.1:{port}"),
            *("--", str(requests), str(load.rate)),
        ],
        capture_output=True,
        check=False,
    )
    if output.returncode:
        raise Faulty(f"wrk failed: {output.stderr.decode().strip()}")
    return output.stdout


def await_events(
    handled: Callable[[], Sequence[int]],
    before: Sequence[int],
    expected: int,
    patience: float = _PATIENCE,
) -> float:
    """Return when every subscriber had got so many events more than before.

    Raises `Faulty` once none has come for so many seconds of patience.
    """
    last, since = handled(), time.perf_counter()
    while True:
        now = handled()
        least = min(n - b for n, b in zip(now, before, strict=True))
        if least >= expected:
            return time.perf_counter()
        if now != last:
            last, since = now, time.perf_counter()
        elif time.perf_counter() - since > patience:
            raise Faulty(f"{expected - least:,} of {expected:,} events went missing")
        time.sleep(0.002)


def introduce(server: Server | Faulty, users: int) -> None:
    """Let each of so many users say something, so that as many conversations live.

    Raises `Faulty`.
    """
    if isinstance(server, Faulty):
        raise server
    before = server.handled()
    try:
        _say_something(server.port, users)
        await_events(server.handled, before, users)
    except (Faulty, OSError, http.client.HTTPException) as fault:
        raise Faulty(f"{server.contender.title}: {fault}") from fault


def _say_something(port: int, users: int) -> None:
    bodies = texts(_TOGETHER, users)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        for _ in range(users // _TOGETHER):
            body = next(bodies)
            connection.request("POST", PATH, body, {SIGNATURE: signed(body)})
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise Faulty(f"it answered {answer.status}")
    finally:
        connection.close()


def told_of_generator(title: str, results: Sequence[Result]) -> str:
    """Return whether the load generator was what limited a server, in a sentence."""
    share = max((result.generator for result in results), default=0.0)
    said = f"Against {title}, the load generator used {share:.0%} of its core at most"
    if share > _UNUSUAL:
        return f"{said}: that figure is the generator's limit and not the server's."
    return f"{said}."
