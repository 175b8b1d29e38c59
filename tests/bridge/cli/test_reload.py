"""`bridge serve --dev` starts again with each change, and survives what cannot start."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import ModuleType

import orjson
import pytest

from bridge.cli.reload import end, watched
from tests.bridge.cli.conftest import CONFIG
from tests.bridge.cli.processes import ROOT, TOKEN
from tests.callbacks import new_message

SHOP = 'def receive(event):\n    print("{words}", flush=True)\n'
WITH_SHOP = CONFIG.replace('use = "console"', 'use = "shop:receive"')


def said(process, pattern):
    """Read a process's standard error up to a line that matches."""
    lines = []
    for line in process.stderr:
        lines.append(line.decode())
        if found := re.search(pattern, lines[-1]):
            return found
        if lines[-1].startswith("the server ended"):
            break
    return pytest.fail("".join(lines))


def test_changed_code_is_served(start, command, config, workplace):
    """What runs is what the files say now, and what cannot start waits for the next change."""
    config.write_text(WITH_SHOP)
    shop = workplace / "shop.py"
    shop.write_text(SHOP.format(words="one"))
    process = start("serve", "--dev", "--port", "0")

    def take(words):
        url = said(process, r"listening on (http://127\.0\.0\.1:\d+)")[1]
        assert command("trigger", "whatsapp-text", "--url", url).code == 0
        assert process.stdout.readline().decode() == f"{words}\n"

    take("one")
    shop.write_text(SHOP.format(words="the second"))
    said(process, "something has changed: starting again")
    take("the second")
    shop.write_text("def receive(:\n")
    said(process, "the server ended with 3; it starts again when something changes")
    (workplace / "kiosk.py").write_text(SHOP.format(words="another"))
    config.write_text(WITH_SHOP.replace("shop:receive", "kiosk:receive"))
    take("another")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    assert "Traceback" not in process.stderr.read().decode()


def test_a_server_that_ends_well_is_not_started_again(start, config):
    """When the server itself is told to stop, the supervisor stops too."""
    process = start("serve", "--dev", "--port", "0", "--log-format", "json")
    said(process, '"event": "listening on ')
    [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)
    assert process.wait() == 0


def test_a_server_that_does_not_end_is_made_to(workplace):
    """What hangs when it is told to stop is killed, so that the next one can start."""
    ignoring = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", ignoring], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert end(child, patience=0.0) == -signal.SIGKILL


def test_what_belongs_to_a_server(config, workplace, monkeypatch, tmp_path_factory):
    """It is the configuration's folder, and the packages and modules that are elsewhere."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.syspath_prepend(elsewhere)
    package = elsewhere / "bakery" / "bread"
    package.mkdir(parents=True)
    for file in (elsewhere / "bakery" / "__init__.py", package / "__init__.py"):
        file.write_text("raise AssertionError('nothing is run')\n")
    monkeypatch.setitem(sys.modules, "handmade", ModuleType("handmade"))
    (elsewhere / "kiosk.py").write_text("raise AssertionError('nothing is run')\n")
    (workplace / "corner.py").write_text("raise AssertionError('nothing is run')\n")
    config.write_text(
        CONFIG
        + '[subscribers.a]\nuse = "bakery.bread:f"\n[subscribers.b]\nuse = "kiosk:f"\n'
        + '[subscribers.c]\nuse = "missing:f"\n[subscribers.d]\nuse = "sys:f"\n'
        + '[subscribers.e]\nuse = "handmade:f"\n[subscribers.f]\nuse = "corner:f"\n'
    )
    assert watched(None, config) == {workplace, elsewhere / "bakery", elsewhere / "kiosk.py"}


def test_a_broken_configuration_is_still_watched(config, workplace):
    """Somebody in the middle of editing it will save it again."""
    config.write_text("[")
    assert watched(None, config) == {workplace}


def test_code_elsewhere_is_watched(start, command, config, tmp_path_factory):
    """A subscriber from another folder is served as its file says now; SIGTERM ends it all."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "shop.py").write_text(SHOP.format(words="one"))
    config.write_text(WITH_SHOP)
    paths = os.pathsep.join((str(ROOT), str(elsewhere)))
    dev = ("serve", "--dev", "--port", "0", "--log-format", "json")
    process = start(*dev, PYTHONPATH=paths)
    said(process, "listening on")
    (elsewhere / "shop.py").write_text(SHOP.format(words="the second"))
    said(process, "something has changed: starting again")
    url = said(process, r"listening on (http://127\.0\.0\.1:\d+)")[1]
    assert command("trigger", "whatsapp-text", "--url", url).code == 0
    assert process.stdout.readline().decode() == "the second\n"
    process.terminate()
    assert process.wait() == 0
    assert '"stopped"' in process.stderr.read().decode()


def test_a_second_signal_ends_both(start, config, workplace):
    """Who presses Ctrl-C again does not wait for what the server is still at work on."""
    config.write_text(WITH_SHOP.replace("[admin]", '[server]\ndrain_timeout = "3600s"\n\n[admin]'))
    (workplace / "shop.py").write_text(
        "import threading\n\n\ndef receive(event):\n"
        '    print("begun", flush=True)\n    threading.Event().wait()\n'
    )
    process = start("serve", "--dev", "--port", "0", "--log-format", "json")
    url = said(process, r"listening on (http://127\.0\.0\.1:\d+)")[1]
    body = orjson.dumps(new_message("wamid.A", "6281519000001"))
    with urllib.request.urlopen(f"{url}/callbacks/incs/{TOKEN}", body):
        pass
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said(process, "SIGTERM: stopping, after at most 3600 seconds")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130


def test_a_server_ends_with_what_started_it(start, config):
    """Where the supervisor is killed, no server stays behind with the journal and the port."""
    process = start("serve", "--dev", "--port", "0", "--log-format", "json")
    said(process, "listening on")
    process.kill()
    assert '"stopped"' in process.stderr.read().decode()  # it is read to the end of both


def test_a_signal_that_ends_the_server_is_told(start, config, workplace):
    """The exit code of a server that SIGTERM ends while it starts is 143, as documented."""
    config.write_text(WITH_SHOP)
    (workplace / "shop.py").write_text(
        'import signal\nprint("begun", flush=True)\nsignal.pause()\n\n\ndef receive(event): ...\n'
    )
    process = start("serve", "--dev", "--port", "0")
    process.stdout.readline()
    process.terminate()
    assert process.wait() == 143


def test_nobody_needs_a_token_while_developing(start, command, config):
    """The operators' commands and a browser get in whatever tokens the configuration names."""
    names = 'tokens = { alice = "alices-token" }\nreaders = { wall = "a-readers-token" }'
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    admin = f'port = {port}\ntoken = "the-operators-token-of-the-tests"\n{names}'
    config.write_text(CONFIG.replace("port = 0", admin, 1))
    process = start("serve", "--dev", "--port", "0", "--log-format", "json")
    said(process, "listening on")
    assert command("status").code == 0
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status") as response:
        assert orjson.loads(response.read())["ready"]
