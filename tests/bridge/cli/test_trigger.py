"""`bridge trigger` shows what it could post, and explains what it cannot."""

import orjson
import pytest

from tests.bridge.cli.conftest import CONFIG
from tests.bridge.cli.test_check import WITH_A_DEFAULT


def test_the_list_needs_no_server(command, config):
    """Every documented sample is a line of its name and title."""
    outcome = command("trigger", "--list")
    assert len(outcome.lines) == 56
    assert "incs/whatsapp-text" in [line.split("\t")[0] for line in outcome.lines]
    assert all(line.split("\t")[1] for line in outcome.lines)
    assert outcome.code == 0


def test_the_list_needs_no_configuration_either(command, install):
    """Without one, it is the samples of everything that is installed."""
    names = {row["name"] for row in command("trigger", "--list", "--json").events}
    assert "incs/whatsapp-text" in names
    install("acme", WITH_A_DEFAULT)  # it brings no samples
    assert {row["name"] for row in command("trigger", "--list", "--json").events} == names
    assert len(command("trigger", "--list", "--json", "--adapter", "incs").events) == 56


def test_a_misspelt_sample_is_a_wrong_call(command, config):
    """It exits with 2 and says what was probably meant, or where to look."""
    outcome = command("trigger", "whatsapp-txt")
    assert outcome.err == (
        "error: there is no sample 'whatsapp-txt'; did you mean 'whatsapp-text'?\n"
    )
    assert outcome.code == 2
    assert "--list shows all of them" in command("trigger", "zzzzzzzz").err


def test_a_name_of_two_adapters_samples_must_say_which(command, config):
    """A short name is good only where it is one sample's."""
    config.write_text(
        CONFIG + '\n[adapters.second]\ntype = "incs"\ntokens = ["fedcba9876543210"]\n'
    )
    outcome = command("trigger", "status-read")
    assert "incs/status-read, second/status-read" in outcome.err
    assert outcome.code == 2


@pytest.mark.parametrize("arguments", [(), ("status-read", "--all")])
def test_either_names_or_all(command, config, arguments):
    """Nothing chosen, or both ways of choosing at once, is a wrong call."""
    outcome = command("trigger", *arguments)
    assert "give the names of samples, or --all" in outcome.err
    assert outcome.code == 2


def test_an_adapter_that_is_not_configured_is_a_wrong_call(command, config):
    """--adapter names a table of the configuration."""
    outcome = command("trigger", "--all", "--adapter", "inc")
    assert 'did you mean "incs"?' in outcome.err
    assert outcome.code == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_no_server_means_start_it_first(command, config, unused_tcp_port, host):
    """Where nobody listens it exits with 1, says how to start the server, and shows no token."""
    config.write_text(f'[server]\nhost = "{host}"\nport = {unused_tcp_port}\n\n{CONFIG}')
    outcome = command("trigger", "status-read")
    there = "[::1]" if ":" in host else "127.0.0.1"
    told, _, advice = outcome.err.partition("; ")
    assert told.startswith(f"error: no server answers at http://{there}:{unused_tcp_port} (")
    assert "Error)" not in told  # but what the system says: the connection was refused
    assert advice == "start the server with: bridge serve --config config.toml\n"
    assert outcome.code == 1


def test_a_port_that_only_the_server_knows_needs_a_url(command, config):
    """With port 0 in the configuration, --url must say where the server is."""
    config.write_text(f"[server]\nport = 0\n\n{CONFIG}")
    outcome = command("trigger", "--all")
    assert "give --url" in outcome.err
    assert outcome.code == 2


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://127.0.0.1", "http://"])
def test_a_url_that_is_none_is_a_wrong_call(command, config, url):
    """--url wants http or https and a host."""
    outcome = command("trigger", "--all", "--url", url)
    assert "expected an address such as http://127.0.0.1:8080" in outcome.err
    assert outcome.code == 2


def test_bodies_are_printed_instead_of_posted(start, config):
    """--print writes each body as it would be posted, with its changes, and needs no server."""
    arguments = ("status-read", "status-sent", "--set", "message_status=7", "--keep-ids")
    process = start("trigger", "--print", *arguments)
    out, err = process.communicate()
    bodies = list(map(orjson.loads, out.splitlines()))
    assert (process.returncode, err) == (0, b"")
    assert [body["message_status"] for body in bodies] == [7, 7]


@pytest.mark.parametrize(
    ("place", "meant"),
    [
        ("mesage_status", "message_status"),
        ("messageid", "message_id"),
        ("message.message_status", "message_status"),
        ("message.mesage_status", "message_status"),
    ],
)
def test_a_place_that_is_not_there_is_told(start, config, place, meant):
    """--set of a misspelt place says so, and names the places that are near it."""
    process = start("trigger", "--print", "status-read", "--set", f"{place}=1")
    _, err = process.communicate()
    start_of_note = f"note: --set {place}: no such path in incs/status-read, so it is added"
    told = err.decode()
    assert told.startswith(start_of_note)
    assert meant in told.partition("near it: ")[2].strip().split(", ")
    assert process.returncode == 0


def test_a_place_that_some_have_is_told_once(command, config):
    """Of several samples that lack a place, one is named and the others are counted."""
    outcome = command("trigger", "--print", "--all", "--set", "brand_new=1")
    assert outcome.err == (
        "note: --set brand_new: no such path in incs/status-failed and 55 more, so it is added\n"
    )
    assert len(outcome.lines) == 56
