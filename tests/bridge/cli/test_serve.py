"""`bridge serve`: how it starts, what it says, and what it refuses."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.bridge.cli.conftest import CONFIG
from tests.bridge.cli.processes import ROOT, TOKEN
from tests.bridge.journal.nats_servers import free_port


def test_the_banner_tells_what_runs_and_no_secret(server, config):
    """People are told the version, what runs where, and what to type next."""
    config.write_text(
        '[log]\nformat = "console"\n\n'
        + CONFIG
        + 'events = ["message", "status_change"]\nchannel = "whatsapp"\n'
    )
    process, url, told = server("--host", "127.0.0.1")
    *more, last = [process.stderr.readline().decode() for _ in range(6)]
    banner = "".join([*told, *more])
    assert re.search(r"^incs-bridge \S+ is listening on ", banner, re.MULTILINE)
    assert f"  adapter     incs: {url}/callbacks/incs/********\n" in banner
    assert "  journal     memory\n" in banner
    assert "  subscriber  console: message, status_change whatsapp → console\n" in banner
    assert TOKEN not in banner
    assert banner.endswith("Next, in another terminal:\n")
    assert last == f"  bridge trigger whatsapp-text --url {url}\n"


def test_a_subscriber_of_several_contents(server, config, start):
    """`content` of a subscriber in TOML may name several: it gets these, and no others."""
    config.write_text(CONFIG + 'content = ["text", "location"]\n')
    process, url, _ = server()
    samples = ("whatsapp-text", "whatsapp-image", "whatsapp-location")
    assert start("trigger", *samples, "--url", url).wait() == 0
    process.terminate()
    lines = process.stdout.read().decode().splitlines()
    assert process.wait() == 0
    assert [word in line for line, word in zip(lines, ("text", "location"), strict=True)] == [
        True
    ] * 2


def test_a_log_for_machines_stays_json(server, config):
    """In a pipe each line of standard error is an object, the start and the doubts included."""
    config.write_text(
        CONFIG.replace('engine = "memory"', 'path = "kept.db"').replace(TOKEN, "feeble")
        + '\n[adapters.meta]\ntype = "whatsapp"\ninsecure = true\n'
    )
    process, url, told = server()
    *doubts, start = map(json.loads, told)
    assert "shorter than 16 characters" in doubts[0]["event"]
    assert start["callbacks"] == [f"{url}/callbacks/incs/********", f"{url}/callbacks/meta"]
    assert start["journal"] == "sqlite in kept.db"
    assert start["subscribers"] == ["console"]
    process.send_signal(signal.SIGTERM)
    *_, last = map(json.loads, process.stderr)
    assert last["event"] == "stopped"


@pytest.mark.parametrize("reader", ["full disk", "gone", "none"])
@pytest.mark.parametrize("form", ["console", "json"])
def test_it_serves_where_nobody_can_read_what_it_says(config, workplace, reader, form):
    """What people are told at the start is no reason to end, whatever standard error is."""
    port = free_port()
    words = [sys.executable, "-m", "bridge", "serve", "--port", str(port), "--log-format", form]
    match reader:
        case "full disk":
            error = os.open("/dev/full", os.O_WRONLY)
        case "gone":
            end, error = os.pipe()
            os.close(end)
        case _:
            error = os.open(os.devnull, os.O_WRONLY)
            words = ["sh", "-c", 'exec "$@" 2>&-', "sh", *words]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=error, env=environ) as process:
        os.close(error)
        try:
            answer = b""
            while not answer:  # until it listens
                assert process.poll() is None
                try:
                    with socket.create_connection(("127.0.0.1", port)) as connection:
                        connection.sendall(
                            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                        )
                        answer = connection.recv(1)
                except ConnectionError:
                    time.sleep(0.01)
        finally:
            process.terminate()
    assert process.returncode == 0


def test_it_runs_without_uvloop(server, command, workplace):
    """Where there is no uvloop the standard loop serves."""
    # `python -m` looks into the working directory first.
    (workplace / "uvloop.py").write_text("raise ImportError")
    _, url, _ = server()
    assert command("trigger", "status-read", "--url", url).code == 0


def test_an_address_in_use_is_a_failure(command, config, start):
    """Where the port is taken, it exits with 1 and says which one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(f"[server]\nport = {port}\n\n{CONFIG}")
        process = start("serve")
        _, err = process.communicate()
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in err.decode()
    assert "Traceback" not in err.decode()


def test_a_wrong_configuration_exits_with_3(command, config):
    """What an adapter refuses is told before anything starts, with its place."""
    config.write_text("[adapters.incs]\ntokens = []\n")
    outcome = command("serve")
    assert outcome.err.startswith("error: config.toml:2: adapters.incs.tokens: ")
    assert outcome.code == 3


def test_a_subscriber_may_stand_beside_the_configuration(start, config, workplace):
    """Its module is found where the configuration is, wherever the command was called."""
    elsewhere = workplace / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "shop.py").write_text("def receive(event): ...\n")
    (elsewhere / "config.toml").write_text(
        CONFIG.replace('use = "console"', 'use = "shop:receive"')
    )
    process = start("check", "--config", "elsewhere/config.toml")
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()


def test_without_samples_there_is_no_next_command(server, config):
    """Where there is nothing to trigger, nothing is suggested."""
    config.write_text("[server]\nport = 0\n" + CONFIG.partition("[adapters")[0])
    process, _, told = server("--log-format", "console")
    process.send_signal(signal.SIGTERM)
    assert "Next" not in "".join(told) + process.stderr.read().decode()


def test_traces_are_sent_where_the_environment_says(start, command, config):
    """With [tracing] enabled, the spans of a callback go to the exporter that is named."""
    config.write_text("[tracing]\nenabled = true\n\n" + CONFIG)
    process = start("serve", "--port", "0", OTEL_TRACES_EXPORTER="console")
    for line in process.stderr:
        if found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", line.decode()):
            break
    assert command("trigger", "status-read", "--url", found[1]).code == 0
    process.send_signal(signal.SIGTERM)
    spans = process.stdout.read().decode()
    assert process.wait() == 0
    assert '"name": "callback incs"' in spans
    assert '"name": "deliver console"' in spans
    assert TOKEN not in spans


def test_the_log_of_a_subscriber_goes_on(start, config, workplace):
    """A handler that a subscriber's module sets up as it is imported gets the log of the server."""
    (workplace / "shop.py").write_text(
        'import logging\nlogging.basicConfig(filename="shop.log", level="INFO")\n'
        "def receive(event): ...\n"
    )
    config.write_text(CONFIG.replace('use = "console"', 'use = "shop:receive"'))
    process = start("serve", "--port", "0")
    assert any(b"listening on" in line for line in process.stderr)
    process.terminate()
    assert process.wait() == 0
    assert "listening on" in (workplace / "shop.log").read_text()
