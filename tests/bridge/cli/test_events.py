"""`bridge events`: a search of what a server keeps."""


def test_the_newest_come_last(operated, command):
    """Events are shown in the order in which they came, however few of the newest are asked for."""
    operated.receive("a", "b", "c")
    outcome = command("events", *operated.own)
    assert [line.split()[-1] for line in outcome.lines] == [operated.key(name) for name in "abc"]
    assert (outcome.code, outcome.err) == (0, "")
    outcome = command("events", *operated.own, "-n", "2")
    assert [line.split()[-1] for line in outcome.lines] == [operated.key(name) for name in "bc"]
    assert outcome.err == "the newest 2; there may be more: --limit\n"


def test_who_what_and_when(operated, command):
    """A party, a message and a time are found, and what is not there is said."""
    operated.receive("a")
    operated.receive("b", phone=operated.other_phone)
    for found, name in (
        (("--party", f"+{operated.other_phone}"), "b"),
        (("--message-id", operated.id("a")), "a"),
        (("--since", "1h", "--kind", "message", *operated.own), "a"),
    ):
        (line,) = command("events", *found).lines
        assert line.endswith(operated.key(name))
    outcome = command("events", "--until", "2001-01-01T00:00:00Z")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "nothing found\n")


def test_json_is_masked_unless_asked(operated, command):
    """As JSON each event is one object, whole only with --show-personal-data."""
    operated.receive("a", text="my secret")
    (event,) = command("events", *operated.own, "--json").events
    assert event["content"] == {"kind": "text", "text": "(9 characters)"}
    assert event["sender"]["phone"] == "+****01"
    assert "raw" not in event
    (event,) = command("events", *operated.own, "--json", "--show-personal-data").events
    assert event["content"]["text"] == "my secret"
    assert event["raw"]["text"] == {"body": "my secret"}


def test_more_than_a_page(operated, command):
    """A search for more than the server gives at once goes on from page to page."""
    names = [f"m{number:04}" for number in range(1010)]
    operated.receive_together(names)
    outcome = command("events", *operated.own, "--limit", "5000", "--json")
    assert [event["message_id"] for event in outcome.events] == list(map(operated.id, names))


def test_what_a_user_wrote_cannot_act_on_the_terminal(operated, command):
    """Control characters in a text are escapes, as a line and as JSON."""
    operated.receive("a", text="\x1b[2J\u202eevil\nforged")
    for arguments in ((), ("--json",)):
        outcome = command("events", *operated.own, *arguments, "--show-personal-data")
        assert len(outcome.lines) == 1
        assert outcome.lines[0].isprintable()


def test_in_a_terminal_of_80_columns(operated, start):
    """In a narrow terminal each event stays one line."""
    operated.receive("wamid." + "x" * 60)
    process = start("events", *operated.own, COLUMNS="80", FORCE_COLOR="1", TERM="xterm")
    out, _ = process.communicate()
    assert out.count(b"\n") == 1
    assert b"x" * 60 in out
