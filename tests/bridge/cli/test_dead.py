"""`bridge dead`: what subscribers could not take."""

import orjson
import pytest

from tests.bridge.cli.test_show import place


@pytest.fixture
def letters(operated):
    """Let three messages die, and mend the subscriber."""
    operated.break_crm()
    operated.receive("a", "b", "c")
    operated.settled()
    operated.mend_crm()
    return operated


@pytest.fixture
def ids(letters) -> list[str]:
    """Return their ids, which are numbers that go up, with gaps in some journals."""
    found = [letter["id"] for letter in letters.ask("/dead")["letters"]]
    assert found == sorted(set(found))
    return list(map(str, found))


def test_they_are_listed(letters, ids, command):
    """Each is a line: id, subscriber, time, tries, key, masked error, and where it was raised."""
    outcome = command("dead", "list")
    assert outcome.code == 0
    listed, subscribers, times, tries, keys, errors, places = zip(
        *(line.split("\t") for line in outcome.lines), strict=True
    )
    assert (list(listed), set(subscribers), set(tries)) == (ids, {"crm"}, {"2"})
    assert keys == tuple(letters.key(name) for name in "abc")
    assert all(time.endswith("Z") for time in times)
    assert set(errors) == {"ValueError: the database of +****80 is away"}
    assert set(places) == {place(letters)}


@pytest.mark.parametrize("verb", ["list", "retry --all", "drop --all --yes"])
def test_a_subscriber_that_is_not_known(operated, command, verb):
    """A misspelt name is told, rather than that it has no dead letters."""
    outcome = command("dead", *verb.split(), "--subscriber", "cmr")
    assert (outcome.code, outcome.out) == (2, "")
    said = 'error: unknown subscriber "cmr"; did you mean "crm"? Allowed: crm\n'
    assert outcome.err == said


def test_they_are_listed_as_json(letters, ids, command):
    """With --json each is an object with the event's kind and key."""
    first, *_ = command("dead", "list", "--json").events
    assert first["id"] == int(ids[0])
    assert (first["kind"], first["key"]) == ("message", letters.key("a"))
    assert "6281519236680" not in str(first)


def test_one_is_shown(letters, ids, command):
    """One dead letter is shown with its event, whole to who asks only, and the lines of code."""
    shown = orjson.loads(command("dead", "show", ids[1]).out)
    assert (shown["where"], shown["trace"]) == (place(letters), [f"{place(letters)} in take"])
    assert shown["event"]["content"]["text"] == "(5 characters)"
    whole = orjson.loads(command("dead", "show", ids[1], "--json", "--show-personal-data").out)
    assert whole["error"] == "ValueError: the database of +6281519236680 is away"
    assert whole["event"]["content"]["text"] == "hello"
    outcome = command("dead", "show", "999999")
    assert (outcome.code, outcome.err) == (1, "error: there is no dead letter 999999\n")


def test_retried_by_id_and_all(letters, ids, command):
    """A retried letter reaches its subscriber with its mark; one that is not there is missed."""
    outcome = command("dead", "retry", ids[0], "999999")
    assert (outcome.code, outcome.err) == (1, "1 dead letter given back, and 1 not there\n")
    letters.until(lambda: letters.taken() == [["a", "0", "True"]])
    outcome = command("dead", "retry", "--all", "--subscriber", "crm")
    assert (outcome.code, outcome.err) == (0, "2 dead letters given back\n")
    letters.until(lambda: len(letters.taken()) == 3)
    assert command("dead", "list").out == ""


def test_dropped(letters, ids, command):
    """A dropped letter is gone; to drop all of them needs somebody's yes."""
    assert command("dead", "drop", ids[0]).err == "1 dead letter dropped\n"
    outcome = command("dead", "drop", "--all")
    assert (outcome.code, outcome.err) == (
        2,
        "error: standard input is no terminal to confirm on: add --yes\n",
    )
    outcome = command("dead", "drop", "--all", stdin=b"no\n", typed=True)
    assert outcome.code == 1
    assert "Drop all dead letters of every subscriber? [y/N]" in outcome.err
    outcome = command("dead", "drop", "--all", "--subscriber", "crm", stdin=b"y\n", typed=True)
    assert (outcome.code, command("dead", "list").out) == (0, "")
    assert command("dead", "drop", "--all", "--yes").err == "0 dead letters dropped\n"
    assert letters.taken() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the dead letters by their ids"),
        (("1", "--all"), "name the dead letters by their ids"),
        (("1", "--subscriber", "crm"), "--subscriber goes with --all"),
    ],
)
def test_which_ones_has_to_be_clear(command, arguments, said):
    """Neither ids nor --all, or both of them, is a wrong call."""
    for verb in ("retry", "drop"):
        outcome = command("dead", verb, *arguments)
        assert outcome.code == 2
        assert said in outcome.err
