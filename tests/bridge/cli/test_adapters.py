"""`bridge adapters` lists what is installed, whatever state it is in."""

from tests.bridge.cli.test_main import failing


def listed(outcome):
    return {row["name"]: row for row in outcome.events}


def test_every_installed_adapter_is_a_line(command):
    """Name, version, class, number of samples and summary, separated by tabs in a pipe."""
    outcome = command("adapters")
    rows = {line.split("\t")[0]: line.split("\t") for line in outcome.lines}
    assert rows["incs"][2:4] == ["bridge.adapters.incs:Incs", "56"]
    assert rows["incs"][4].startswith("Callbacks of INCS")
    assert outcome.code == 0


def test_the_list_is_json_for_programs(command):
    """With --json the same facts are an object in each line."""
    row = listed(command("adapters", "--json"))["incs"]
    assert row["class"] == "bridge.adapters.incs:Incs"
    assert row["samples"] == 56
    assert row["fault"] is None
    assert row["version"].startswith("incs-bridge ")


def test_a_broken_adapter_is_shown_as_such(command, install):
    """One that cannot be imported or made is listed with its fault, and the others with it."""
    install("broken", "import nothing_of_this_name")
    install("acme", failing("RuntimeError('x')"))
    outcome = command("adapters", "--json")
    rows = listed(outcome)
    assert "nothing_of_this_name" in rows["broken"]["fault"]
    assert rows["acme"]["fault"] == "it fails with RuntimeError"
    assert rows["incs"]["fault"] is None
    assert outcome.code == 0
    assert "broken: " in command("adapters").out


def test_an_adapter_that_needs_settings_is_not_broken(command, install):
    """One that cannot be made without settings is fine; only its samples are not counted."""
    install("acme", failing("None").replace("insecure: bool = False", "word: str"))
    row = listed(command("adapters", "--json"))["acme"]
    assert (row["samples"], row["fault"]) == (None, None)
    assert "acme\tacme-bridge 1.2\tacme_adapter:Adapter\t-" in command("adapters").lines


def test_a_terminal_gets_a_table(command, monkeypatch):
    """People see headed columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    outcome = command("adapters")
    assert "summary" in outcome.lines[1]
    assert "\t" not in outcome.out
