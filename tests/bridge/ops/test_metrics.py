"""What Prometheus is told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from bridge.adapter import Callback
from bridge.errors import JournalError, MalformedBody, MethodRefused, NotAuthentic
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Appended, Health, Start
from bridge.model import Message
from bridge.observer import AppendDetails, AttemptDetails, Result
from bridge.ops.metrics import CallbackOutcome, Metrics
from bridge.ops.results import lag_seconds
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings, ServerSettings
from tests.bridge.events import message, unrecognized
from tests.bridge.fakes import TOKEN, Plain
from tests.bridge.serving import serving

PHONE = "+16505557777"
MANUAL = Path(__file__).parents[3] / "docs" / "operate.md"
DASHBOARD = MANUAL.with_name("grafana.json")


def callback(body: bytes, **changes) -> Callback:
    values = {"body": body, "received_at": datetime.now(UTC), "tail": TOKEN}
    return Callback(**{**values, **changes})


class FullDisk(MemoryJournal):
    """Takes nothing once it is full."""

    full = False

    async def append(self, events):
        if self.full:
            raise JournalError("the disk is full")
        return await super().append(events)


@pytest.fixture
async def text():
    """Run a bridge through everything that is counted, and return what it says of itself."""
    journal, metrics = FullDisk(), Metrics()
    bridge = Bridge(journal=journal, policy=DeliverySettings(tries=1))
    bridge.add_adapter("plain", Plain())
    bridge.observe(metrics)

    @bridge.on(Message, name="crm")
    async def take(event: Message) -> None:
        if event.message_id == "bad":
            raise ValueError(event.sender.phone)

    good = b'{"messages": [{"id": "a", "text": "hello", "from": "16505557777"}]}'
    bad = good.replace(b'"a"', b'"bad"')
    async with bridge:
        await bridge.receive("plain", callback(good))
        await bridge.receive("plain", callback(good))
        await bridge.receive("plain", callback(bad))
        await bridge.receive("plain", callback(b"{}"))
        for error, refused in (
            (NotAuthentic, callback(good, tail="wrong")),
            (MethodRefused, callback(good, method="GET")),
            (MalformedBody, callback(b"[]")),
        ):
            with pytest.raises(error):
                await bridge.receive("plain", refused)
        journal.full = True
        with pytest.raises(JournalError):
            await bridge.receive("plain", callback(good))
        await bridge.deliveries["crm"].drain(up_to=2)
        await journal.subscribe("former", start=Start.BEGINNING)
        return (await metrics.render(bridge.operators)).decode()


def samples(text: str) -> dict[str, float]:
    """Return every sample by its name and the values of its labels."""
    return {
        "/".join(
            (sample.name, *(value for _, value in sorted(sample.labels.items())))
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_everything_is_counted(text):
    """Each callback, event, duplicate, try and dead letter is one in its own count."""
    found = samples(text)
    expected = {
        "bridge_requests_total/plain/accepted": 4,
        "bridge_requests_total/plain/not_authentic": 1,
        "bridge_requests_total/plain/method_refused": 1,
        "bridge_requests_total/plain/malformed": 1,
        "bridge_requests_total/plain/not_stored": 1,
        "bridge_events_total/plain/message": 3,
        "bridge_duplicates_total/plain": 1,
        "bridge_append_seconds_count": 4,
        "bridge_append_seconds_bucket/+Inf": 4,
        "bridge_delivery_tries_total/done/crm": 1,
        "bridge_delivery_tries_total/dead/crm": 1,
        "bridge_subscriber_lag_events/former": 2,
        "bridge_subscriber_held_events/crm": 0,
        "bridge_subscriber_held_lanes/former": 0,
        "bridge_ready": 1,
        "bridge_spool_active": 0,
        "bridge_spool_events": 0,
        "bridge_journal_set_aside_files": 0,
        "bridge_journal_losses_total": 0,
        "bridge_task_deaths_total/(journal)": 0,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["bridge_requests_total/plain/body_refused"] == 0  # so that the first is a rise
    assert any(
        name.startswith("bridge_build_info/") and metadata.version("incs-bridge") in name
        for name in found
    )


def test_buckets_add_up(text):
    """Each bucket of the histogram holds what the smaller ones hold, and more."""
    buckets = [v for name, v in samples(text).items() if name.startswith("bridge_append_seconds_b")]
    assert len(buckets) == 13
    assert buckets == sorted(buckets)


def test_no_personal_data(text):
    """Neither a phone, a text nor an error of a subscriber's is anywhere in it."""
    assert "16505557777" not in text
    assert "hello" not in text


def test_the_names_follow_the_rules(text):
    """Each family is described; counters end in _total, times are in seconds."""
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families) >= 11
    for family in families:
        assert family.name.startswith("bridge_")
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        assert ("_total" in family.name) is False
        for word in ("_ms", "_milliseconds", "_count", "_created"):
            assert not family.name.endswith(word)
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)


def alerts() -> str:
    """Return the alerting rules of the manual."""
    _, _, rest = MANUAL.read_text().partition("```yaml\n")
    return rest.partition("```")[0]


def test_each_metric_is_documented(text):
    """An operator finds every family, with its labels and outcomes, in the manual."""
    lines = MANUAL.read_text().splitlines()
    rows = {row.split("`")[1]: row for row in lines if row.startswith("| `bridge_")}
    described = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(text)
    }
    assert rows.keys() == described.keys()
    for name, family in described.items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == {word for word in rows[name].split("|")[2].split("`") if word.strip(" ,")}
    for words, name in (
        (CallbackOutcome, "bridge_requests_total"),
        (Result, "bridge_delivery_tries_total"),
    ):
        assert all(f"`{word}`" in rows[name] for word in words)


def test_alerts_ask_for_what_is_there(text):
    """Each alerting rule of the manual asks for metrics that exist."""
    families = text_string_to_metric_families(text)
    known = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    asked = set(re.findall(r"bridge_\w+", alerts()))
    assert {"bridge_ready", "bridge_spool_active"} < asked <= known


def test_the_dashboard_asks_for_what_is_there(text):
    """Each panel of the dashboard asks for samples that exist, by labels that they have."""
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels, ("job", "instance"))
    asked = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            (name,) = re.findall(r"bridge_\w+", target["expr"])
            asked.add(name)
            words = re.findall(r"by \(([\w, ]+)\)", target["expr"])
            used = {word for found in words for word in found.split(", ")}
            used |= set(re.findall(r"(\w+)(?:=~|!=)", target["expr"]))
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert used <= labels[name], panel["title"]
            assert shown <= used, panel["title"]
    assert asked == labels.keys() - {"bridge_append_seconds_count", "bridge_append_seconds_sum"}


def test_the_panels_of_the_dashboard_lie_beside_each_other():
    """No two panels share a place, and no row is wider than Grafana's 24 columns."""
    places = [panel["gridPos"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_alerts(tmp_path):
    """Prometheus's own checker finds that the manual's rules are rules."""
    path = tmp_path / "bridge.rules.yml"
    path.write_text(alerts())
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()
    assert b"7 rules found" in done.stdout


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say(text):
    """Prometheus's own linter finds nothing wrong."""
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_channels_are_bounded():
    """However many channels an adapter makes up, only so many are told apart."""
    metrics = Metrics()
    for number in range(100):
        events = (message(str(number), channel=f"made-up-{number}"),)
        appended = Appended(published=1, duplicates=0)
        with metrics.append(AppendDetails("a", events, appended)):
            pass
    counted = samples((await metrics.render(Bridge(journal=MemoryJournal()).operators)).decode())
    channels = [name for name in counted if name.startswith("bridge_events_total/")]
    assert len(channels) == 33
    assert counted["bridge_events_total/other/message"] == 68


def test_failed_tries_are_those_that_failed():
    """A try that failed counts whether or not another one follows."""
    metrics = Metrics()
    for result in (Result.DONE, Result.FAILED, Result.FAILED, Result.DEAD):
        with metrics.attempt(AttemptDetails("crm", message(), 0, result)):
            pass
    assert metrics.failures("crm") == 3
    assert metrics.failures("bot") == 0


async def test_lag_is_the_age_of_the_oldest_event():
    """Seconds of lag are counted from when the oldest event that waits was received."""
    async with MemoryJournal() as journal:
        await journal.subscribe("crm")
        (state,) = await journal.subscribers()
        assert await lag_seconds(journal, state) == 0
        old = datetime.now(UTC) - timedelta(hours=1)
        await journal.append([message("a", received_at=old), unrecognized("b")])
        (state,) = await journal.subscribers()
        assert await lag_seconds(journal, state) >= 3600


async def test_while_nothing_runs_it_says_so():
    """Before the bridge runs there is a text all the same, and it says that it is not ready."""
    bridge = Bridge(journal=MemoryJournal())
    assert samples((await Metrics().render(bridge.operators)).decode())["bridge_ready"] == 0


@pytest.mark.parametrize(
    ("spooled", "ready", "expected"),
    [(None, True, (1, 0, 0)), (0, True, (1, 1, 0)), (7, True, (1, 1, 7)), (7, False, (0, 1, 7))],
)
async def test_the_spool_is_measured(spooled, ready, expected):
    """A spool that is in use is told apart from none, also while it is empty or full."""

    class Spooling(MemoryJournal):
        async def health(self):
            return Health(ready=ready, spooled=spooled)

    async with Bridge(journal=Spooling()) as bridge:
        found = samples((await Metrics().render(bridge.operators)).decode())
    names = ("bridge_ready", "bridge_spool_active", "bridge_spool_events")
    assert tuple(found[name] for name in names) == expected


async def test_a_refused_body_is_counted():
    """A callback whose body never became one is counted under its adapter."""
    metrics = Metrics()
    bridge = Bridge(journal=MemoryJournal(), server=ServerSettings(max_body=10))
    bridge.add_adapter("plain", Plain())
    bridge.observe(metrics)
    async with serving(bridge) as url, ClientSession() as session:
        response = await session.post(f"{url}/callbacks/plain/{TOKEN}", data=b"x" * 11)
        assert response.status == 413
        text = (await metrics.render(bridge.operators)).decode()
    assert samples(text)["bridge_requests_total/plain/body_refused"] == 1
