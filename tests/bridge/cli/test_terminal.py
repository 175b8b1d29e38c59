"""What somebody sees in a terminal of 80 columns, from the command as a process of its own."""

import re
import urllib.request
from functools import partial
from importlib.metadata import version

import orjson
import pytest

from tests.bridge.cli.conftest import CONFIG
from tests.bridge.cli.processes import ROOT, TOKEN, Operated
from tests.bridge.cli.terminals import COLUMNS, lines_of
from tests.bridge.cli.test_help import COMMANDS
from tests.callbacks import NOW, new_message

# As long as Meta's: base64 of a phone and an id.
# As long as the ids of WhatsApp, and without a phone inside, so that no digest stands for it.
LONG = "wamid." + "an-id-that-is-as-long-as-those-of-a-provider-are".ljust(62, "-")


@pytest.fixture
def look(operated):
    """Run a command in a terminal."""
    return partial(lines_of, folder=operated.folder, root=ROOT)


@pytest.fixture
def letters(operated):
    """Let four messages die at two lines, at one of them with different texts, one a long one."""
    for error, ids in (
        ("timed out\n  after 5 s " + "x" * 80, (LONG, "b")),
        ("timed out after 6 s", ("c",)),
        ("unknown", ("d",)),
    ):
        operated.break_crm(error)
        operated.receive(*ids)
        operated.settled()
    return operated


def test_dead_letters_fit(letters, look):
    """Each dead letter is a line that fits, with a short time, below how many have each fault."""
    lines = look("dead", "list")
    assert max(map(len, lines)) <= COLUMNS
    listed = [line.split() for line in lines if "crm" in line]
    assert len(listed) == 6
    assert all(len(day) == 5 and len(time) == 8 for _, _, day, time, *_ in listed[2:])
    assert [line[5] for line in listed[2:]] == ["ValueError:"] * 3 + ["LookupError:"]
    told = [" ".join(line).rpartition(" crm.py:")[0] for line in listed[:2]]
    assert told == ["3 crm ValueError: timed out after 6 s", "1 crm LookupError: unknown"]


def test_many_dead_letters_are_one_screen(operated, look, command):
    """The newest ten stand below the summary, and a line says how to see the others."""
    operated.break_crm()
    operated.receive(*map(str, range(12)))
    operated.settled()
    ids = [str(letter["id"]) for letter in operated.ask("/dead")["letters"]]
    lines = look("dead", "list")
    assert len(lines) < 24
    (group, *rows) = [line.split() for line in lines if "crm" in line]
    assert group[:3] == ["12", "crm", "ValueError:"]
    assert [row[0] for row in rows] == ids[2:]
    assert lines[-1] == "the newest 10 of 12; all of them: --limit 12"
    for asked in (("--limit", "12"), ("--wide",)):
        rows = [line.split() for line in look("dead", "list", *asked) if "crm" in line]
        assert [row[0] for row in rows[1:]] == ids
    assert len(command("dead", "list").lines) == 12  # a program gets them all


@pytest.mark.parametrize("letter", [True, False])
def test_a_key_stands_above_its_json(operated, look, letter):
    """What is shown as JSON begins with the event's key on a line of its own, to be copied."""
    operated.break_crm()
    operated.receive(LONG)
    operated.settled()
    key = operated.key(LONG)
    (found,) = operated.ask("/dead")["letters"]
    lines = look("dead", "show", str(found["id"])) if letter else look("show", key)
    assert lines[0] == key


def test_dead_letters_are_whole_if_wide(letters, look):
    """With --wide each is one line all the same, with its key and its whole error."""
    lines = [line for line in look("dead", "list", "--wide") if letters.key(LONG) in line]
    assert len(lines) == 1
    assert f"ValueError: timed out after 5 s {'x' * 80}" in lines[0]


def test_a_part_of_the_dead_letters(letters, command):
    """--limit takes the newest, --since what died since, --summary counts only."""
    keys = [line.split("\t")[4] for line in command("dead", "list", "-n", "2").lines]
    assert keys == [letters.key("c"), letters.key("d")]
    assert len(command("dead", "list", "--since", "1h").lines) == 4
    tomorrow = "2100-01-01T00:00:00Z"
    assert command("dead", "list", "--since", tomorrow).out == ""
    groups = command("dead", "list", "--summary", "--json").events
    assert [(group["letters"], group["subscriber"]) for group in groups] == [(3, "crm"), (1, "crm")]
    assert groups[1]["error"] == "LookupError: unknown"
    assert [group["where"].rpartition(":")[0][-7:] for group in groups] == ["/crm.py"] * 2


def test_what_is_told_breaks_between_words(look, workplace):
    """A sentence that is longer than the terminal is wide has its line ends between words."""
    told = look("trigger", "whatsapp-text", "--print", "--set", "message.text.bdoy=hello")
    note = [line for line in told if not line.startswith("{")]
    assert len(note) > 1
    assert max(map(len, note)) <= COLUMNS
    assert "no such path in incs/whatsapp-text, so it is added" in " ".join(map(str.strip, note))


def test_failures_of_sending_fit(operated, look, command):
    """Each failure is a line that fits, and below them stands what to do about each code."""
    operated.post(
        {
            "event": "message_status_update",
            "channel_id": 30058,
            "business_phone": "6281519236680",
            "message_id": operated.id("late"),
            "message_status": "failed",
            "error": {"code": "expired", "title": "it could not be sent in time " * 5},
            "received_at": int(NOW),
        }
    )
    lines = look("outbox")
    assert max(map(len, lines)) <= COLUMNS
    (row,) = [line for line in lines if line.split()[:3] == ["incs", "failed", "expired"]]
    assert "it could not" in row
    assert "expired: See why it waited, and send it anew if it is still wanted." in lines
    told = [line.split("\t") for line in command("outbox").lines]
    assert ["sending", "nothing can be sent: no adapter has what that takes"] in told
    assert [row[6] for row in told if row[:3] == ["incs", "failed", "expired"]] == [
        "See why it waited, and send it anew if it is still wanted."
    ]


def test_installed_adapters_fit(look):
    """The list of adapters wraps between words, whatever they say of themselves."""
    lines = look("adapters")
    assert max(map(len, lines)) <= COLUMNS
    (row,) = [line for line in lines if line.split()[:1] == ["whatsapp"]]
    assert row.split()[1:4] == ["incs-bridge", version("incs-bridge"), "53"]


@pytest.mark.parametrize("verb", ["events", "tail"])
def test_a_key_is_never_broken(operated, look, verb):
    """However narrow the terminal, a key has a line to itself, and the words before it fit."""
    operated.receive(LONG, text="a text that takes its room too " * 3)
    key = operated.key(LONG)
    beginning = () if verb == "events" else ("--beginning",)
    shown = look(verb, *beginning, "--show-personal-data", *operated.own, until=key)
    *words, last = [line for line in shown if line]
    assert last == key
    assert max(map(len, words)) <= COLUMNS
    assert "a text that takes its room too a text" in " ".join(map(str.strip, words))


def test_a_key_in_the_log_is_never_broken(config, workplace):
    """Nor are the other words of a line: the terminal's end comes between two of them."""
    (workplace / "crm.py").write_text("def take(event):\n    raise ValueError\n")
    config.write_text(f"{CONFIG}[subscribers.crm]\nuse = 'crm:take'\n")
    key = f"incs/message/whatsapp/{LONG}"

    def post(told: str) -> None:
        url = re.search(r"listening on (\S+)", told)[1]
        body = orjson.dumps(new_message(LONG, "6281500000001", "hello"))
        urllib.request.urlopen(f"{url}/callbacks/incs/{TOKEN}", body).close()

    lines = lines_of(
        *("serve", "--port", "0"),
        folder=workplace,
        root=ROOT,
        at=("another terminal", post),
        until="bridge.delivery.failures",
    )
    begins = next(number for number, line in enumerate(lines) if line.endswith("crm failed on"))
    assert lines[begins + 1] == f"    {key}:"
    ends = next(number for number, line in enumerate(lines) if "bridge.delivery.failures" in line)
    told = lines[begins + 2 : ends + 1]
    assert all(line.startswith("    ") for line in told)
    assert all(len(line) <= COLUMNS for line in told if " " in line.strip())
    said = " ".join(map(str.strip, told))
    assert said.startswith(f"ValueError at {workplace / 'crm.py'}:2, try 1; again in ")


def test_status_is_one_screen(letters, look, command):
    """It fits, but for a key, which is whole; the numbers are those of the subscribers."""
    lines = look("status")
    assert len(lines) < 24
    assert max(len(line) for line in lines if letters.key("d") not in line) <= COLUMNS
    facts = dict(line.split(maxsplit=1) for line in lines if line.startswith(("ready", "dead")))
    assert facts == {"ready": "yes", "dead": "4 events"}
    told = dict(line.split("\t", 1) for line in command("status").lines)
    assert told["ready"] == "yes"
    assert told["last event"].endswith(f"ago, {letters.key('d')}")
    assert told["sends"] == "no adapter sends"
    assert told["incs"].split("\t")[0].endswith(" ago")
    assert told["crm"].split("\t")[:4] == ["running", "0", "0", "4"]
    (found,) = command("status", "--json").events
    assert (found["ready"], found["durable"], found["adapters"]) == (True, True, ["incs", "fickle"])


def test_json_has_one_form(letters, command, start, monkeypatch):
    """Whatever has `--json` prints each thing as an object on a line of its own, and no more."""
    monkeypatch.setenv("COLUMNS", "200")
    key, letter = letters.key("d"), str(letters.ask("/dead")["letters"][0]["id"])
    calls = {
        ("show",): (key,),
        ("dead", "show"): (letter,),
        ("replay",): (key, "--dry-run"),
        ("subscribers", "held"): ("crm",),
        ("reparse",): ("--all",),
        ("trigger",): ("--list",),
    }
    having = [name for name in COMMANDS if "--json" in command(*name, "--help").out]
    assert {*calls, ("events",), ("tail",), ("outbox",), ("adapters",)} <= set(having)
    started = {
        name: start(*name, *calls.get(name, ()), "--json")
        for name in having
        if name != ("tail",)  # which does not end
    }
    for name, process in started.items():
        out, _ = process.communicate()
        assert process.returncode == 0, name
        assert all(isinstance(orjson.loads(line), dict) for line in out.splitlines()), name


def test_status_of_a_server_that_is_not_ready(new_journal, workplace, command):
    """It fails and gives the reason, so that a script may ask it."""
    server = Operated(workplace, new_journal() + 'min_free_space = "1000TiB"\n')
    server.start()
    outcome = command("status")
    server.stop()
    assert outcome.code == 1
    ready = dict(line.split("\t", 1) for line in outcome.lines)["ready"]
    assert re.fullmatch(r"no: only \d+ bytes are free on the disk", ready)
