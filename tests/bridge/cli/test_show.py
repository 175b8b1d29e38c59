"""`bridge show`: one event whole."""

import re

import orjson
import pytest

from tests.bridge.cli.processes import CRM


@pytest.fixture
def dead(operated):
    """Let the message `a` become a dead letter of crm's."""
    operated.break_crm()
    operated.receive("a", text="my secret")
    operated.settled()
    return operated


def place(server) -> str:
    """Return the line of the subscriber that raises."""
    (line,) = [n for n, text in enumerate(CRM.splitlines(), 1) if "raise ValueError" in text]
    return f"{server.folder / 'crm.py'}:{line}"


def test_everything_about_an_event(dead, command):
    """The event, what the provider sent, each outcome with its error, and the history."""
    key = dead.key("a")
    outcome = command("show", key, "--show-personal-data")
    assert (outcome.code, outcome.err) == (0, "")
    parts = outcome.out.split("\n--- ")[1:]
    assert [part.split(" ---\n")[0] for part in parts] == [
        "event",
        "as the provider sent it",
        "subscribers",
        f"crm failed at {place(dead)}",
        "the message's history",
        "callbacks that told of it",
    ]
    event, raw, outcomes, lines, history, callbacks = (part.split(" ---\n")[1] for part in parts)
    assert lines == f"{place(dead)} in take\n"
    assert orjson.loads(event)["content"] == {"kind": "text", "text": "my secret"}
    assert orjson.loads(raw)["text"] == {"body": "my secret"}
    name, standing, tries, times, error = outcomes.strip().split("\t")
    assert (name, standing, tries) == ("crm", "dead", "2")
    assert "failing since 2" in times
    assert "gave up at 2" in times
    (letter,) = dead.ask("/dead")["letters"]
    told = "ValueError: the database of +6281519236680 is away"
    assert error == f"dead letter {letter['id']}: {told}"
    assert history.endswith(f"{key}\n")
    at, *headers = callbacks.splitlines()
    assert re.fullmatch(r"20\S+Z by incs from 127\.0\.0\.0/24: published", at)
    assert any(line.startswith("  User-Agent: Python-urllib/") for line in headers)


def test_a_repetition_and_another_name(operated, command):
    """A callback that came again is listed as such, and the message's id finds the event too."""
    operated.receive("a")
    operated.receive("a")
    outcome = command("show", operated.id("a"))
    told = outcome.out.split("--- callbacks that told of it ---\n")[1]
    (first, second) = [line for line in told.splitlines() if not line.startswith(" ")]
    assert first.endswith(": published")
    assert second.endswith(": a repetition, for which nothing was published")


def test_nothing_personal_unless_asked(dead, command):
    """Without --show-personal-data no part of it, the error included, tells of anybody."""
    for arguments in ((), ("--json",)):
        outcome = command("show", dead.key("a"), *arguments)
        for secret in ("my secret", dead.phone, "6281519236680 is away", "Lessie"):
            assert secret not in outcome.out
    assert command("show", dead.key("a")).out.count("hidden: --show-personal-data shows it") == 1


def test_as_json(dead, command):
    """As JSON it is one object, with the times in RFC 3339."""
    found = orjson.loads(command("show", dead.key("a"), "--json", "--show-personal-data").out)
    assert found["entry"]["event"]["raw"]["id"] == dead.id("a")
    (outcome,) = found["outcomes"]
    (letter,) = dead.ask("/dead")["letters"]
    assert (outcome["standing"], outcome["tries"], outcome["letter"]) == ("dead", 2, letter["id"])
    assert outcome["failed_at"].endswith("Z")
    assert [entry["event"]["key"] for entry in found["history"]] == [dead.key("a")]


def test_an_unknown_key(operated, command):
    """What is not there is said, with exit code 1."""
    outcome = command("show", "message/whatsapp/none")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "error: the journal keeps no event of this key\n"


def test_in_a_terminal_of_80_columns(dead, start):
    """In a narrow terminal the outcomes are a table that fits."""
    process = start("show", dead.key("a"), COLUMNS="80", FORCE_COLOR="1", TERM="dumb")
    out, _ = process.communicate()
    table = out.decode().split("--- subscribers ---")[1].split("---")[0]
    assert "standing" in out.decode()
    assert all(len(line) <= 80 for line in table.splitlines())


def test_an_event_that_is_done(operated, command):
    """Where everything went well, an outcome is one word."""
    operated.receive("a")
    operated.settled()
    assert "--- subscribers ---\ncrm\tdone\n" in command("show", operated.key("a")).out


def test_an_event_that_nobody_wants(operated, command):
    """Where no subscriber wants the event, that is said; it is no message and has no history."""
    operated.post({"event": "new_message", "message": {"messages": "none of the sort"}})
    (event,) = command("events", "--kind", "unrecognized", "--json").events
    outcome = command("show", event["key"])
    assert "--- subscribers ---\nnone wants it\n" in outcome.out
    assert "history" not in outcome.out
