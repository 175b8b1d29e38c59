"""`bridge subscribers`, `purge` and `reparse`: what is kept, and what is kept no longer."""

from tests.bridge.cli.conftest import on_every_engine

LEFT = "what others have said of the person stays, such as contact cards"


@on_every_engine
def test_subscribers_are_listed(operated, command):
    """Each subscriber is a line with its state, position, lag and failures."""
    (before,) = operated.subscribers()
    operated.break_crm()
    operated.receive("a")
    operated.settled()
    outcome = command("subscribers")
    name, state, position, lag, held, dead, failed = outcome.out.strip().split("\t")
    assert (name, state, lag, held, dead) == ("crm", "running", "0", "0", "1")
    assert int(failed) == before["failed_tries"] + 2
    assert int(position) > before["position"]
    (found,) = command("subscribers", "--json").events
    assert found.items() >= {"name": "crm", "dead": 1, "failed_tries": int(failed)}.items()


@on_every_engine
def test_a_former_subscriber_lags_and_is_forgotten(alone, command):
    """One that is configured no longer is shown with its lag, and can be forgotten then."""
    outcome = command("subscribers", "forget", "crm")
    assert outcome.code == 1
    assert "is running" in outcome.err
    alone.stop()
    alone.rename("crm", "bot")
    alone.start()
    alone.receive("a")
    alone.settled()
    # A NATS server counts for itself; on a busy machine it was once seen to say 3 at first.
    alone.until(lambda: [each["lag"] for each in alone.subscribers()] == [0, 1])
    outcome = command("subscribers")
    assert [line.split("\t")[:2] for line in outcome.lines] == [
        ["bot", "running"],
        ["crm", "not running"],
    ]
    assert outcome.lines[1].split("\t")[3].startswith("1 (")
    # It may count one that has just ended as running for a moment, too.
    alone.until(lambda: command("subscribers", "forget", "crm").err == "forgot crm\n")
    outcome = command("subscribers", "forget", "crm")
    assert (outcome.code, outcome.err) == (
        2,
        'error: unknown subscriber "crm". Allowed: bot\n',
    )


@on_every_engine
def test_purge_asks_and_erases(operated, command):
    """Only after a yes everything about one number is gone, and nothing else."""
    operated.receive("a", "b")
    operated.receive("c", phone=operated.other_phone)
    subject = ("--subject", f"+{operated.phone}")
    outcome = command("purge", *subject)
    assert outcome.code == 2
    outcome = command("purge", *subject, stdin=b"\n", typed=True)
    assert outcome.code == 1
    assert "Erase everything about +****01 for good (2 events so far)? [y/N]" in outcome.err
    outcome = command("purge", *subject, "--yes")
    assert (outcome.code, outcome.err) == (0, f"erased 2 events; {LEFT}\n")
    assert command("events", "--party", f"+{operated.phone}").out == ""
    assert len(command("events", "--party", f"+{operated.other_phone}").lines) == 1


def test_a_number_as_people_write_it(operated, command):
    """With punctuation or without its plus a number is the same one; a masked one is refused."""
    operated.receive("a")
    operated.receive("b", phone=operated.other_phone)
    first, second = (
        f"+{phone[:2]} {phone[2:5]}-{phone[5:9]}-{phone[9:]}"
        for phone in (operated.phone, operated.other_phone)
    )
    for written in (first, operated.phone):
        (event,) = command("events", "--json", "--party", written).events
        assert event["message_id"] == operated.id("a")
    outcome = command("events", "--party", "+62 8")
    assert (outcome.code, outcome.err) == (2, "error: party: expected + and digits, or a user id\n")
    for option in ("--party", "--conversation"):
        outcome = command("events", option, "+****01")
        assert outcome.code == 2
        assert "+****01 is masked" in outcome.err
    assert command("purge", "--subject", "+****01", "--yes").code == 2
    assert command("purge", "--subject", operated.phone, "--yes").err == f"erased 1 event; {LEFT}\n"
    assert command("purge", "--subject", second, "--yes").err == f"erased 1 event; {LEFT}\n"


def test_a_number_without_its_country_is_refused(operated, command):
    """A number as it is dialled within a country could be anybody's: nothing is erased."""
    for number in ("0812 3456-7801", "(0812) 34567801", "650-555-1234", "(650) 555 1234"):
        outcome = command("purge", "--subject", number, "--yes")
        assert outcome.code == 2
        assert "has no country's code" in outcome.err
        assert number[:4] not in outcome.err


@on_every_engine
def test_reparse(operated, command):
    """What cannot be read stays until its adapter is mended, and then comes out once."""
    nothing = "there is nothing that could not be read\n"
    assert command("reparse", "--all").err == nothing
    operated.post({"id": operated.id("m")}, "fickle")
    (event,) = command("events", "--kind", "unrecognized", "--json").events
    key = event["key"]

    outcome = command("reparse", "--all")
    assert (outcome.code, outcome.lines) == (
        1,
        [f"{key}\tstill unreadable (0 events, 0 of them new)"],
    )
    (found,) = command("reparse", key, "--dry-run", "--json").events
    assert found == {"key": key, "mended": False, "keys": [], "published": 0}
    outcome = command("reparse", "message/whatsapp/none")
    assert outcome.out == (
        "message/whatsapp/none\t"
        "not found, not unrecognized, or of an adapter that is no longer configured\n"
    )
    assert command("reparse").code == 2

    (operated.folder / "mended").touch()
    assert command("reparse", "--all", "--dry-run").out == f"{key}\t1 event\n"
    outcome = command("reparse", "--all")
    assert (outcome.code, outcome.out) == (0, f"{key}\t1 event, 1 of them new\n")
    operated.until(lambda: [name for name, *_ in operated.taken()] == ["m"])
    assert command("reparse", "--all").err == nothing
    (again,) = command("events", "--message-id", operated.id("m"), "--json").events
    assert again["received_at"] == event["received_at"]
