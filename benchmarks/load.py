"""Put load on a server from another core, and say what came of it.

A figure counts only if every request was answered with 200 and every answered message reached
every subscriber; `Faulty` says what is missing, and then there is no figure.
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
import time
from collections.abc import Sequence

import attrs
import orjson

from benchmarks.bodies import PATH, SIGNATURE, Batch, signed, texts, write
from benchmarks.contenders import ROOT, Server, pinned
from benchmarks.figures import Faulty

_FASTEST = 30_000  # messages per second to prepare, while nothing is known of a server
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


def check_tools() -> None:
    """Say how to get what is missing. Raises `SystemExit`."""
    for tool, how in (("wrk", "apt-get install wrk"), ("taskset", "apt-get install util-linux")):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is needed to measure over HTTP: {how}")


def put_load(server: Server | Faulty, load: Load) -> Result:
    """Load a server, wait until everything has been handled, and check that. Raises `Faulty`."""
    if isinstance(server, Faulty):  # it did not even start
        raise server
    margin = _PACED_MARGIN if load.rate else _MARGIN
    fastest = load.rate or server.fastest.get(load.items) or _FASTEST / load.items
    while True:
        prepared = int(fastest * load.seconds * margin) + load.connections
        result = _put(server, load, prepared)
        if result is not None:
            if not load.rate:
                server.fastest[load.items] = max(server.fastest.get(load.items, 0.0), result.asked)
            return result
        fastest *= 2  # it answered more than was prepared for, so that it had to wait


def _put(server: Server, load: Load, prepared: int) -> Result | None:
    """Send at most the prepared number of requests; return None where they were too few."""
    requests = server.folder / "requests"
    write(Batch(requests=prepared, items=load.items, port=server.port, users=load.users), requests)
    before, busy = server.handled(), server.processor_time()
    output = subprocess.run(
        [
            *pinned(1),
            *("wrk", "-t1", f"-c{load.connections}", f"-d{load.seconds}s", "--timeout", "10s"),
            *("-s", str(ROOT / "benchmarks" / "load.lua"), f"http://127.0.0.1:{server.port}"),
            *("--", str(requests), str(load.rate)),
        ],
        capture_output=True,
        check=False,
    )
    ended = time.perf_counter()
    title = server.contender.title
    if output.returncode:
        raise Faulty(f"{title}: wrk failed: {output.stderr.decode().strip()}")
    told = orjson.loads(output.stdout.splitlines()[-1])
    if told["refused"] or told["broken"]:
        raise Faulty(f"{title}: {told['refused']} requests refused, {told['broken']} broken")
    catch_up = _await(server, before, told["requests"] * load.items) - ended
    busy = server.processor_time() - busy
    requests.unlink()
    if told["exhausted"]:
        return None
    took = told["microseconds"] / 1e6
    return Result(
        rate=told["requests"] / (took + catch_up),
        asked=told["requests"] / took,
        cpu=busy / told["requests"] * 1e6,
        events=min(now - then for now, then in zip(server.handled(), before, strict=True)),
        p50=told["p50"] / 1000,
        p99=told["p99"] / 1000,
        p999=told["p999"] / 1000,
        memory=server.memory(),
        catch_up=catch_up,
        generator=told["busy"],
    )


def _await(server: Server, before: Sequence[int], expected: int) -> float:
    """Return when every subscriber had got what was answered."""
    last, since = server.handled(), time.perf_counter()
    while True:
        now = server.handled()
        least = min(n - b for n, b in zip(now, before, strict=True))
        if least >= expected:
            return time.perf_counter()
        if now != last:
            last, since = now, time.perf_counter()
        elif time.perf_counter() - since > _PATIENCE:
            missing = expected - least
            raise Faulty(f"{server.contender.title}: {missing} of {expected} events went missing")
        time.sleep(0.002)


def introduce(server: Server | Faulty, users: int) -> None:
    """Let each of so many users say something, so that as many conversations live.

    Raises `Faulty`.
    """
    if isinstance(server, Faulty):
        raise server
    before = server.handled()
    bodies = texts(_TOGETHER, users)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        for _ in range(users // _TOGETHER):
            body = next(bodies)
            connection.request("POST", PATH, body, {SIGNATURE: signed(body)})
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise Faulty(f"{server.contender.title} answered {answer.status}")
    finally:
        connection.close()
    _await(server, before, users)


def told_of_generator(title: str, results: Sequence[Result]) -> str:
    """Return whether the load generator was what limited a server, in a sentence."""
    share = max((result.generator for result in results), default=0.0)
    said = f"Against {title}, the load generator used {share:.0%} of its core at most"
    if share > _UNUSUAL:
        return f"{said}: that figure is the generator's limit and not the server's."
    return f"{said}."
