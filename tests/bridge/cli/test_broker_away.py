"""What an operator sees while the NATS servers are away, with a spool, a full one, and without."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.bridge.cli.processes import NATS, Operated
from tests.bridge.cli.test_operators import COMMANDS
from tests.bridge.cli.test_tail import Tail
from tests.bridge.journal.nats_servers import NatsServer

# A tail waits, and a subscriber that runs is not forgotten anyway.
ASKING = [each for each in COMMANDS if each[0] not in ("tail", "status") and "forget" not in each]

# How long an absence is waited out before the spool is used; by default it is ten seconds.
BRIEFLY = 'patience = "0.2s"\n'


@pytest.fixture
def broker(tmp_path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def serve(broker, workplace) -> Iterator[Callable[..., Operated]]:
    """Start a bridge on the broker, with more settings of `[journal.nats]`."""
    started = []

    def run(settings: str = "") -> Operated:
        journal = NATS.format(url=broker.url, stream="bridge") + BRIEFLY + settings
        operated = Operated(workplace, journal)
        operated.start()
        started.append(operated)
        return operated

    yield run
    for operated in started:
        operated.stop()


def measured(operated: Operated) -> tuple[float, float, float]:
    """Return readiness, whether the spool is in use, and how many events it has."""
    _, text = operated.get("/metrics")
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return values["bridge_ready"], values["bridge_spool_active"], values["bridge_spool_events"]


def fill(operated: Operated, most: int) -> int:
    """Post until a callback is not taken; return the status of that."""
    for number in range(most):
        try:
            operated.receive(f"fill-{number}", text="x" * 5000)
        except urllib.error.HTTPError as error:
            return error.code
    pytest.fail("everything was taken")


def test_callbacks_are_taken_and_everything_says_so(serve, broker, command, start):
    """Callbacks go into the spool, commands fail in one line, and all is well by itself after."""
    operated = serve()
    operated.receive("a")
    operated.settled()
    assert operated.get("/readyz") == (200, "ready\n")
    assert measured(operated) == (1, 0, 0)
    tail = Tail(start("tail", "--beginning"))
    operated.until(lambda: len(tail.out) == 1)

    broker.end()
    operated.receive("b", "c")
    assert operated.get("/readyz") == (200, "ready: NATS is away: 2 events are in the spool\n")
    assert measured(operated) == (1, 1, 2)
    for arguments in ASKING:
        outcome = command(*arguments)
        assert (outcome.code, outcome.out) == (1, ""), arguments
        assert outcome.err == "error: no NATS server is connected\n", arguments
    outcome = command("status")
    assert outcome.code == 0
    assert "NATS is away: 2 events are in the spool" in outcome.out

    broker.start()
    operated.until(lambda: operated.get("/readyz") == (200, "ready\n"))
    operated.until(lambda: len(tail.out) == 3)
    assert tail.stop() == 130
    assert len(tail.out) == 3
    operated.until(lambda: len(operated.taken()) == 3)
    assert [name for name, *_ in operated.taken()] == ["a", "b", "c"]
    assert measured(operated) == (1, 0, 0)
    assert operated.logged("events go into the spool") == 1
    assert operated.logged("the spool is empty") == 1
    assert operated.logged("the connection to NATS is lost") == 1
    assert operated.logged("the connection to NATS is back") == 1
    assert operated.logged("Traceback") == 0


def test_a_tail_outlasts_a_restart_meanwhile(serve, broker, start):
    """A tail whose server restarts while NATS is away goes on with what is new."""
    operated = serve()
    operated.receive("a")
    operated.settled()
    tail = Tail(start("tail", "--beginning"))
    operated.until(lambda: len(tail.out) == 1)
    broker.end()
    operated.stop()
    operated.start(operated.port)
    operated.until(lambda: len(tail.err) == 1)
    broker.start()
    operated.receive("b")
    operated.until(lambda: tail.out and operated.key("b") in tail.out[-1])
    assert tail.stop() == 130
    assert len(tail.out) == 2


def test_a_full_spool(serve, broker):
    """Once the spool is full, callbacks are answered with 503 and the probe says why."""
    operated = serve('spool_max_size = "1MiB"\n')
    broker.end()
    assert fill(operated, most=1000) == 503
    status, said = operated.get("/readyz")
    assert status == 503
    assert said.startswith("not ready: NATS is away, and the spool: ")
    assert "limit of 1048576 bytes" in said
    assert fill(operated, most=1) == 503
    assert operated.logged("callback not stored") == 1  # and not for each of thousands
    ready, active, events = measured(operated)
    assert (ready, active) == (0, 1)
    assert events > 0


def test_without_a_spool(serve, broker):
    """With the spool off, callbacks are answered with 503, and taken again when it is back."""
    operated = serve("spool = false\n")
    broker.end()
    assert fill(operated, most=1) == 503
    assert operated.get("/readyz") == (503, "not ready: NATS is away\n")
    assert measured(operated) == (0, 0, 0)
    broker.start()
    operated.until(lambda: operated.get("/readyz") == (200, "ready\n"))
    operated.receive("a")
    operated.until(lambda: len(operated.taken()) == 1)


def test_a_server_that_starts_without_a_broker(serve, broker, command):
    """It takes callbacks and says so; its subscribers get them when the broker comes."""
    broker.end()
    operated = serve()
    operated.receive("a")
    assert operated.get("/readyz") == (200, "ready: NATS is away: 1 events are in the spool\n")
    assert operated.logged("Connection refused") == 1
    assert command("subscribers").err == "error: no NATS server is connected\n"
    broker.start()
    operated.until(lambda: len(operated.taken()) == 1)
    assert command("subscribers").lines[0].split("\t")[:2] == ["crm", "running"]
