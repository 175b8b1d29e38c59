"""`bridge subscribers`, `purge` and `reparse`: what is kept, and what is kept no longer."""

UNREADABLE = {"event": "new_message", "message": {"messages": "none of the sort"}}


def test_subscribers_are_listed(operated, command):
    """Each subscriber is a line with its state, position, lag and failures."""
    operated.break_crm()
    operated.receive("a")
    operated.settled()
    outcome = command("subscribers")
    name, state, position, lag, held, dead, failed = outcome.out.strip().split("\t")
    assert (name, state, lag, held, dead, failed) == ("crm", "running", "0", "0", "1", "2")
    assert int(position) >= 1
    (found,) = command("subscribers", "--json").events
    assert found.items() >= {"name": "crm", "dead": 1, "failed_tries": 2}.items()


def test_a_former_subscriber_lags_and_is_forgotten(operated, command):
    """One that is configured no longer is shown with its lag, and can be forgotten then."""
    outcome = command("subscribers", "forget", "crm")
    assert outcome.code == 1
    assert "is running" in outcome.err
    operated.stop()
    operated.rename("crm", "bot")
    operated.start()
    operated.receive("a")
    operated.settled()
    outcome = command("subscribers")
    assert [line.split("\t")[:2] for line in outcome.lines] == [
        ["bot", "running"],
        ["crm", "not running"],
    ]
    assert outcome.lines[1].split("\t")[3].startswith("1 (")
    assert command("subscribers", "forget", "crm").err == "forgot crm\n"
    outcome = command("subscribers", "forget", "crm")
    assert (outcome.code, outcome.err) == (
        1,
        "error: the journal knows no subscriber of this name\n",
    )


def test_purge_asks_and_erases(operated, command):
    """Only after a yes everything about one number is gone, and nothing else."""
    operated.receive("a", "b", phone="6281500000001")
    operated.receive("c", phone="6281500000002")
    outcome = command("purge", "--subject", "+6281500000001")
    assert outcome.code == 2
    outcome = command("purge", "--subject", "+6281500000001", stdin=b"\n", typed=True)
    assert outcome.code == 1
    assert "Erase everything about +6281****001 for good? [y/N]" in outcome.err
    outcome = command("purge", "--subject", "+6281500000001", "--yes")
    assert (outcome.code, outcome.err) == (0, "erased 2 events\n")
    assert [event["message_id"] for event in command("events", "--json").events] == ["c"]


def test_a_number_as_people_write_it(operated, command):
    """With punctuation or without its plus a number is the same one; a masked one is refused."""
    operated.receive("a", phone="6281500000001")
    operated.receive("b", phone="6281500000002")
    for written in ("+62 815-0000-0001", "6281500000001"):
        assert len(command("events", "--json", "--party", written).events) == 1
    outcome = command("events", "--party", "+62 8")
    assert (outcome.code, outcome.err) == (1, "error: party: expected + and digits, or a user id\n")
    for option in ("--party", "--conversation"):
        outcome = command("events", option, "+6281****001")
        assert outcome.code == 2
        assert "+6281****001 is masked" in outcome.err
    assert command("purge", "--subject", "+6281****001", "--yes").code == 2
    assert command("purge", "--subject", "6281500000001", "--yes").err == "erased 1 event\n"
    assert command("purge", "--subject", "+62 815 0000 0002", "--yes").err == "erased 1 event\n"
    assert command("events").out == ""


def test_what_is_still_unreadable_stays(operated, command):
    """An adapter that was not mended reads nothing more the second time, and that is said."""
    operated.post(UNREADABLE)
    (event,) = command("events", "--kind", "unrecognized", "--json").events
    outcome = command("reparse", "--all")
    assert (outcome.code, outcome.lines) == (
        1,
        [f"{event['key']}\tstill unreadable (0 events, 0 of them new)"],
    )
    (found,) = command("reparse", event["key"], "--dry-run", "--json").events
    assert found == {"key": event["key"], "mended": False, "keys": [], "published": 0}
    outcome = command("reparse", "message/whatsapp/none")
    assert outcome.out == (
        "message/whatsapp/none\t"
        "not found, not unrecognized, or of an adapter that is no longer configured\n"
    )
    assert command("reparse").code == 2


def test_a_mended_adapter_reads_it(operated, command):
    """After the adapter was mended the message comes out, and the next --all has nothing to do."""
    assert command("reparse", "--all").err == "there is nothing that could not be read\n"
    operated.stop()
    operated.add_fickle()
    operated.start()
    operated.post({"id": "m"}, "fickle")
    (event,) = command("events", "--kind", "unrecognized", "--json").events
    (operated.folder / "mended").touch()
    assert command("reparse", "--all", "--dry-run").out == f"{event['key']}\t1 event\n"
    outcome = command("reparse", "--all")
    assert (outcome.code, outcome.out) == (0, f"{event['key']}\t1 event, 1 of them new\n")
    operated.until(lambda: [t[0] for t in operated.taken()] == ["message/whatsapp/m"])
    assert command("reparse", "--all").err == "there is nothing that could not be read\n"
    (again,) = command("events", "--kind", "message", "--json").events
    assert again["received_at"] == event["received_at"]
