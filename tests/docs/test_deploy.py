"""What `docs/deploy.md` says holds: settings, limits, paths, and the way of a backup."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path

import attrs
import pytest

from bridge import installed
from bridge.cli.check import mistakes
from bridge.cli.doubts import doubts
from bridge.settings import ServerSettings, Settings
from tests.bridge.settings.test_config_example import uncommented

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text("utf-8")
EXAMPLE = tomllib.loads(uncommented())
SETTINGS = re.findall(rf"`({'|'.join(EXAMPLE)})\.([a-z_]+)`", PAGE)
CREDENTIALS = re.findall(r"LoadCredential=(\w+):/etc/bridge/\1\n", PAGE)
_UNITS = {"m": 1024**2, "MB": 1000**2}


def block(language: str) -> str:
    """Return the only block of code in a language."""
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


@pytest.fixture
def configured(tmp_path, monkeypatch) -> tuple[Settings, Path]:
    """Read the page's configuration, with its credentials and its subscriber in place."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for credential in CREDENTIALS:
        (tmp_path / credential).write_text(f"{credential}-0123456789abcdef\n")
        (tmp_path / credential).chmod(0o400)  # as systemd lays it
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "crm.py").write_text("def receive(event): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(block("toml"))
    return installed.read(path), path


def test_its_configuration_is_sound(configured):
    """`bridge check` finds neither a mistake nor a doubt in it, readable by all as it is."""
    settings, path = configured
    path.chmod(0o644)
    assert mistakes(settings) == ()
    assert list(doubts(settings, path)) == []


def test_every_setting_that_it_names_exists():
    """Each `table.key` of the page is a setting of the example."""
    assert len(SETTINGS) >= 8
    assert [name for name in SETTINGS if name[1] not in EXAMPLE[name[0]]] == []


@pytest.mark.parametrize("name", ["allow_networks", "drain_timeout", "trusted_proxies"])
def test_settings_that_stand_alone_exist_too(name):
    """A setting that is named without its table is one of the server's or an adapter's."""
    assert f"`{name}`" in PAGE
    assert name in EXAMPLE["server"] or name in EXAMPLE["adapters"]["incs"]


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_the_proxies_let_through_what_the_bridge_takes(configured):
    """Their limits of a body are the bridge's, give or take the unit."""
    settings, _ = configured
    assert settings.server.max_body == ServerSettings().max_body
    [(size, unit)] = re.findall(r"client_max_body_size (\d+)(m);", block("nginx"))
    assert int(size) * _UNITS[unit] == settings.server.max_body
    [(size, unit)] = re.findall(r"max_size (\d+)(MB)", block("caddyfile"))
    assert int(size) * _UNITS[unit] == pytest.approx(settings.server.max_body, rel=0.05)


def test_idle_connections_end_at_the_proxy_first(configured):
    """Both proxies close their idle connections before the bridge does."""
    settings, _ = configured
    ours = settings.server.keepalive_timeout
    [nginx] = re.findall(r"keepalive_timeout (\d+s);", block("nginx"))
    [caddy] = re.findall(r"keepalive (\d+s)", block("caddyfile"))
    assert seconds(nginx) < ours
    assert seconds(caddy) < ours


def test_there_is_time_to_finish(configured):
    """Both systemd and the container wait longer than the bridge drains."""
    settings, _ = configured
    [systemd] = re.findall(r"TimeoutStopSec=(\d+)", block("ini"))
    [container] = re.findall(r"--stop-timeout (\d+)", PAGE)
    assert min(int(systemd), int(container)) > settings.server.drain_timeout


def test_there_are_files_enough(configured):
    """The limit of open files is far above that of connections."""
    settings, _ = configured
    [limit] = re.findall(r"LimitNOFILE=(\d+)", block("ini"))
    assert int(limit) >= 4 * settings.server.max_connections


def test_the_token_is_in_no_access_log():
    """Below /callbacks/ neither proxy writes a log, and both name the request."""
    [location] = re.findall(r"location /callbacks/ \{(.*?)\n    \}", block("nginx"), re.DOTALL)
    assert "access_log off;" in location
    assert "X-Request-Id $request_id;" in location
    [handle] = re.findall(r"handle /callbacks/\* \{(.*?)\n    \}", block("caddyfile"), re.DOTALL)
    assert "log_skip" in handle
    assert "X-Request-Id" in handle


def test_the_paths_fit_together(configured):
    """Unit, credential, journal and configuration name the same files."""
    settings, _ = configured
    unit = block("ini")
    assert settings.server.prefix == "/callbacks"
    assert settings.journal.path == Path("/var/lib/bridge/bridge.db")
    assert "StateDirectory=bridge\n" in unit
    assert set(re.findall(r"CREDENTIALS_DIRECTORY\}/(\w+)", block("toml"))) == {*CREDENTIALS}
    assert set(re.findall(r"> /etc/bridge/(\w+)\)", PAGE)) == {*CREDENTIALS}
    assert f"127.0.0.1:{settings.server.port};" in block("nginx")
    assert f"127.0.0.1:{settings.server.port} " in block("caddyfile")
    assert f"127.0.0.1:{settings.server.port}/healthz" in block("dockerfile")
    assert f"127.0.0.1:{settings.admin.port}/metrics" in PAGE


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_systemd_understands_the_unit(tmp_path):
    """`systemd-analyze verify` finds nothing wrong with it, the program itself apart."""
    unit = tmp_path / "bridge.service"
    unit.write_text(re.sub(r"(?m)^(ExecStart(?:Pre)?)=.*$", r"\1=/bin/true", block("ini")))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        capture_output=True,
        check=False,  # it also judges the units of this machine
        text=True,
    )
    said = [line for line in done.stderr.splitlines() if "bridge.service" in line]
    assert said == []


@pytest.mark.parametrize(
    "command", re.findall(r"bridge (check|serve|subscribers|dead|backup|export) ", PAGE)
)
def test_its_commands_exist(command):
    """Each command of ours that the page calls is there."""
    assert find_spec(f"bridge.cli.{command}") is not None


def test_the_defaults_that_it_shows_are_those():
    """Where the page's configuration repeats a default, it is still the default."""
    shown = tomllib.loads(block("toml"))["server"]
    defaults = attrs.asdict(ServerSettings())
    assert shown["host"] == defaults["host"]
    assert shown["port"] == defaults["port"]
    assert seconds(shown["keepalive_timeout"]) == defaults["keepalive_timeout"]
    assert seconds(shown["drain_timeout"]) == defaults["drain_timeout"]
