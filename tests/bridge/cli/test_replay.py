"""`bridge replay`: events once more."""

import pytest

from tests.bridge.cli.conftest import on_every_engine


@pytest.fixture
def served(operated):
    """Let crm take three messages."""
    operated.receive("a", "b", "c")
    operated.settled()
    assert len(operated.taken()) == 3
    return operated


@on_every_engine
def test_by_key(served, command):
    """A named event comes once more, with the same key and marked; an unknown one is told."""
    outcome = command("replay", served.key("b"), "message/whatsapp/none")
    assert (outcome.code, outcome.out) == (1, "crm\t1\n")
    assert outcome.err == ("error: the journal keeps no event of this key: message/whatsapp/none\n")
    served.until(lambda: len(served.taken()) == 4)
    assert served.taken()[-1] == ["b", "0", "True"]


def test_by_time(served, command):
    """All of a time go to the one subscriber that is named, at the rate that is asked for."""
    to_crm = ("--since", "1h", *served.own, "--subscriber", "crm")
    outcome = command("replay", *to_crm, "--rate", "1000")
    assert (outcome.code, outcome.out) == (0, "crm\t3\n")
    served.until(lambda: len(served.taken()) == 6)
    assert [name for name, *_ in served.taken()[3:]] == ["a", "b", "c"]


def test_many(operated, command):
    """What is found comes page by page, all of it, once and in order."""
    names = [f"m{number:04}" for number in range(1100)]
    operated.receive_together(names)
    operated.until(lambda: len(operated.taken()) == 1100)
    outcome = command("replay", "--since", "1h", "--subscriber", "crm", *operated.own)
    assert (outcome.code, outcome.out) == (0, "crm\t1100\n")
    operated.until(lambda: len(operated.taken()) == 2200)
    again = operated.taken()[1100:]
    assert [name for name, *_ in again] == names
    assert {is_replay for *_, is_replay in again} == {"True"}


def test_a_dry_run_changes_nothing(served, command):
    """A dry run says how many there would be."""
    dry = ("replay", "--since", "1h", "--subscriber", "crm", *served.own, "--dry-run", "--json")
    outcome = command(*dry, "--kind", "message", "--rate", "0.001")
    assert outcome.events == [{"subscriber": "crm", "events": 3}]
    assert command(*dry, "--until", "2001-01-01T00:00:00Z").out == ""
    outcome = command(*dry[:-1], "--until", "2001-01-01T00:00:00Z")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "nothing found\n")
    served.settled()
    assert len(served.taken()) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "by their keys, or by their time"),
        (("key", "--since", "1h"), "by their keys, or by their time"),
        (("--since", "1h"), "--since needs --subscriber"),
        (("key", "--until", "1h"), "filters go with --since"),
        (("key", "--kind", "message"), "filters go with --since"),
        (("key", "--rate", "0"), "--rate"),
    ],
)
def test_what_makes_no_sense(command, arguments, said):
    """Options that cannot be are explained, with exit code 2."""
    outcome = command("replay", *arguments)
    assert outcome.code == 2
    assert said in outcome.err


def test_a_subscriber_that_does_not_run(operated, command):
    """A misspelt subscriber is told, and nothing is replayed."""
    outcome = command("replay", operated.key("b"), "--subscriber", "cmr")
    assert (outcome.code, outcome.err) == (
        2,
        'error: unknown running subscriber "cmr"; did you mean "crm"? Allowed: crm\n',
    )
