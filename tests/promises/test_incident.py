"""A day's incident: a subscriber is broken for an hour of traffic, and nobody loses anything."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.bridge.cli.processes import ADMIN
from tests.bridge.journal.nats_servers import NatsServer
from tests.promises.servers import ROOT, TOKEN, Server
from tests.promises.test_kill_loop import body

CONVERSATIONS = 60
AN_HOUR = {"sqlite": 1200, "nats": 400}  # messages: NATS takes each through several requests
IN_A_CALLBACK = 20
AT_ONCE = 8
PATIENCE = 120  # seconds; only a test that fails ever takes that long

CONFIG = f"""
[server]
port = 0

[admin]
port = ADMIN_PORT

JOURNAL

[log]
format = "json"

[adapters.incs]
tokens = ["{TOKEN}"]

[subscribers.collector]
use = "tests.promises.collecting:collect"
events = ["message"]

[subscribers.crm]
use = "tests.promises.breaking:take"
events = ["message"]
tries = 2
first_delay = 0.0
"""

SQLITE = """
[journal]
path = "journal.db"
"""

NATS = """
[journal]
engine = "nats"

[journal.nats]
servers = ["URL"]
partitions = 4
"""


class Incident:
    """A server with the subscribers `collector`, which is well, and `crm`, which breaks."""

    def __init__(self, folder: Path, journal: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.server = Server(folder)
        self.folder = folder
        self.sent: list[str] = []
        self.admin = f"http://127.0.0.1:{port}"
        self.headers = {"Authorization": f"Bearer {ADMIN}"}
        (folder / "config.toml").write_text(
            CONFIG.replace("ADMIN_PORT", f'{port}\ntoken = "{ADMIN}"').replace("JOURNAL", journal)
        )

    async def send(self, session: aiohttp.ClientSession, count: int) -> None:
        """Post so many messages, several in a callback and several callbacks at once."""
        numbers = range(len(self.sent), len(self.sent) + count)
        waiting = [list(numbers[at : at + IN_A_CALLBACK]) for at in range(0, count, IN_A_CALLBACK)]

        async def post() -> None:
            while waiting:
                some = waiting.pop(0)
                callback = orjson.loads(body(some[0] // IN_A_CALLBACK % CONVERSATIONS, "first"))
                (first,) = callback["message"]["messages"]
                ids = [f"wamid.{number}" for number in some]
                callback["message"]["messages"] = [{**first, "id": each} for each in ids]
                url = f"{self.server.url}/callbacks/incs/{TOKEN}"
                async with session.post(url, data=orjson.dumps(callback)) as response:
                    assert response.status == 200
                self.sent += ids

        await asyncio.gather(*(post() for _ in range(AT_ONCE)))

    async def metrics(self, session: aiohttp.ClientSession) -> dict[tuple[str, ...], float]:
        """Scrape, and return each value by its name and the values of its labels."""
        async with session.get(f"{self.admin}/metrics", headers=self.headers) as response:
            assert response.status == 200
            text = await response.text()
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def until(
        self, session: aiohttp.ClientSession, is_so: Callable[[dict[tuple[str, ...], float]], bool]
    ) -> dict[tuple[str, ...], float]:
        """Scrape until the metrics say so, and return them."""
        async with asyncio.timeout(PATIENCE):
            while not is_so(found := await self.metrics(session)):
                await asyncio.sleep(0.05)
        return found

    async def command(self, *arguments: str) -> str:
        """Run `bridge` as an operator does; return what it says to people."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", *arguments, "--config", "config.toml"),
            cwd=self.folder,
            env={"PYTHONPATH": str(ROOT)},
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()

    def taken(self) -> Counter[str]:
        """Return how often crm has taken each message."""
        return Counter((self.folder / "crm").read_text().split())


@pytest.fixture(params=["sqlite", "nats"])
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def incident(engine: str, tmp_path: Path) -> Iterator[Incident]:
    if engine == "sqlite":
        yield Incident(tmp_path, SQLITE)
        return
    with NatsServer(tmp_path / "nats") as server:
        yield Incident(tmp_path, NATS.replace("URL", server.url))


async def test_a_subscriber_broken_for_an_hour(tmp_path, incident, engine):
    """Found by its metrics, mended, its dead letters retried: nothing is lost, nothing twice.

    Meanwhile every callback is answered with 200 and the other subscriber notices nothing.
    """
    count = AN_HOUR[engine]
    await incident.server.start()
    try:
        async with aiohttp.ClientSession() as session:
            await incident.send(session, 200)
            await incident.until(session, lambda now: is_done(now, "crm"))
            assert incident.taken() == Counter(incident.sent)

            (tmp_path / "broken").touch()
            await incident.send(session, count)
            found = await incident.until(session, lambda now: dead(now, "crm") == count)
            assert found["bridge_delivery_tries_total", "crm", "dead"] == count
            assert found["bridge_delivery_tries_total", "crm", "failed"] >= count
            assert found["bridge_requests_total", "accepted", "incs"] == (200 + count) / 20
            assert dead(found, "collector") == 0
            assert ("bridge_delivery_tries_total", "collector", "failed") not in found
            await incident.until(session, lambda now: is_done(now, "collector"))

            (tmp_path / "broken").unlink()
            said = await incident.command("dead", "retry", "--all", "--subscriber", "crm")
            assert said == f"{count} dead letters given back\n"
            await incident.send(session, 200)
            await incident.until(session, lambda now: is_done(now, "crm") and not dead(now, "crm"))
    finally:
        assert await incident.server.end(signal.SIGTERM) == 0
    everything = Counter(incident.sent)
    assert incident.taken() == everything
    (life,) = incident.server.collected()
    assert Counter(message_id for _, message_id in life) == everything


def dead(metrics: dict[tuple[str, ...], float], subscriber: str) -> float:
    return metrics["bridge_subscriber_dead_letters", subscriber]


def is_done(metrics: dict[tuple[str, ...], float], subscriber: str) -> bool:
    """Return whether a subscriber has looked at everything and holds nothing."""
    names = ("bridge_subscriber_lag_events", "bridge_subscriber_held_events")
    return not any(metrics[name, subscriber] for name in names)
