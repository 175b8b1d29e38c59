"""`bridge serve` and `bridge trigger`, as two processes: the way of a callback, end to end."""

import asyncio
import json
import re
import signal
import socket
from collections import Counter

import pytest
from aiohttp import web

from tests.bridge.cli.conftest import CONFIG

TOKEN = "0123456789abcdef0123456789abcdef"


def test_every_sample_is_accepted_and_shown(server, command):
    """All 56 documented callbacks are answered with 200 and show as lines on the console."""
    process, url, _ = server()
    outcome = command("trigger", "--all", "--url", url)
    assert outcome.code == 0, outcome.err
    assert Counter(line.split("\t")[1] for line in outcome.lines) == {"200 OK": 56}
    process.send_signal(signal.SIGTERM)
    shown = process.stdout.read().decode().splitlines()
    assert process.wait() == 0
    assert len(shown) >= 56
    # A text of five characters ("hello") from +85268415026: sample "whatsapp-text".
    assert any("← +8526****026 text (5 characters)  message/whatsapp/wamid." in x for x in shown)
    log = process.stderr.read().decode()
    assert json.loads(log.splitlines()[-1])["event"] == "stopped"
    assert TOKEN not in log
    assert "85268415026" not in log


def test_a_bar_shows_how_far_it_is_where_it_helps(server, start, config):
    """With the lines going elsewhere and a person watching, a bar runs on standard error."""
    config.write_text(CONFIG + '\n[adapters.meta]\ntype = "whatsapp"\ninsecure = true\n')
    _, url, _ = server()
    process = start("trigger", "--all", "--url", url, FORCE_COLOR="1", TERM="xterm")
    out, err = process.communicate()
    assert process.returncode == 0, err.decode()
    assert b"posting" in err
    assert b"\x1b" not in out
    assert {line.split(b"/")[0] for line in out.splitlines()} == {b"incs", b"meta"}


def test_each_run_is_new_unless_the_ids_are_kept(server, command):
    """Fresh ids make new events each time; with --keep-ids the second time changes nothing."""
    process, url, _ = server()
    for options in ((), (), ("--keep-ids",), ("--keep-ids",)):
        outcome = command("trigger", "incs/whatsapp-text", "--url", url + "/", *options)
        assert outcome.out == "incs/whatsapp-text\t200 OK\n"
    process.send_signal(signal.SIGINT)
    shown = process.stdout.read().decode().splitlines()
    assert process.wait() == 0
    assert len(shown) == 3


def test_a_refusal_fails_the_command(server, command, config):
    """A wrong token is answered with 401: the line says so, and the exit code is 1."""
    _, url, _ = server()
    config.write_text(CONFIG.replace(TOKEN, "f" * 32))
    outcome = command("trigger", "status-read", "--url", url)
    assert outcome.out == "incs/status-read\t401 Unauthorized\tthe callback is not authentic\n"
    assert outcome.code == 1


def test_the_banner_tells_what_runs_and_no_secret(server, config):
    """People are told the version, the address, the callbacks, the journal and the subscribers."""
    config.write_text(
        '[log]\nformat = "console"\n\n'
        + CONFIG
        + 'events = ["message", "status_change"]\nchannel = "whatsapp"\n'
    )
    process, url, told = server("--host", "127.0.0.1")
    banner = "".join([*told, *(process.stderr.readline().decode() for _ in range(3))])
    assert re.search(r"^incs-bridge \S+ is listening on ", banner, re.MULTILINE)
    assert f"  adapter     incs: {url}/callbacks/incs/********\n" in banner
    assert "  journal     memory\n" in banner
    assert "  subscriber  console: message, status_change whatsapp → console\n" in banner
    assert TOKEN not in banner


def test_a_log_for_machines_stays_json(server, config):
    """In a pipe each line of standard error is an object, the start and the doubts included."""
    config.write_text(
        CONFIG.replace('engine = "memory"', 'path = "kept.db"').replace(TOKEN, "feeble")
        + '\n[adapters.meta]\ntype = "whatsapp"\ninsecure = true\n'
    )
    _, url, told = server()
    *doubts, start = map(json.loads, told)
    assert "shorter than 16 characters" in doubts[0]["event"]
    assert start["callbacks"] == [f"{url}/callbacks/incs/********", f"{url}/callbacks/meta"]
    assert start["journal"] == "sqlite in kept.db"
    assert start["subscribers"] == ["console"]


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
    assert f"cannot listen on 127.0.0.1 port {port}: " in err.decode()
    assert "Traceback" not in err.decode()


def test_a_wrong_configuration_exits_with_3(command, config):
    """What an adapter refuses is told before anything starts, with its place."""
    config.write_text("[adapters.incs]\ntokens = []\n")
    outcome = command("serve")
    assert outcome.err.startswith("error: config.toml:2: adapters.incs.tokens: ")
    assert outcome.code == 3


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ({"status": 302, "headers": {"Location": "/"}}, "302 Found"),
        (
            {"status": 500, "text": "{", "content_type": "application/problem+json"},
            "500 Internal Server Error",
        ),
    ],
)
async def test_strange_answers_are_refusals(start, config, answer, line):
    """A redirect is not followed, and an answer that makes no sense is shown by its status."""

    async def handle(_):
        return web.Response(**answer)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    process = start("trigger", "status-read", "--url", f"http://127.0.0.1:{port}")
    out, _ = await asyncio.to_thread(process.communicate)
    await runner.cleanup()
    assert out.decode() == f"incs/status-read\t{line}\n"
    assert process.returncode == 1


def test_the_next_command_ends_the_banner(server, config, workplace):
    """A person is told what to type next, and it reaches this very server."""
    process, url, _ = server("--log-format", "console")
    *_, last = [process.stderr.readline().decode() for _ in range(5)]
    assert last == f"Next, in another terminal: bridge trigger whatsapp-text --url {url}\n"


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
