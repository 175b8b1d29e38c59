"""Options of the whole run."""

from __future__ import annotations

import compileall
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

# How long an example takes says nothing: the machine may be busy with something else. Each run
# draws other examples; `pytest --hypothesis-profile=thorough` tries many at once. To explain a
# failure takes longer than to find it, and some tests want laws to fail.
_untimed = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
settings.register_profile("short", _untimed, max_examples=40)
settings.register_profile("thorough", _untimed, max_examples=1000)
settings.load_profile("short")

# Where the run began with signals ignored, as with `nohup` or in the background of a script, each
# process that a test starts would ignore them too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what all processes of a run share: a folder, and the bytecode of the bridge.

    It is compiled once where Python keeps no bytecode, and not in hundreds of processes.
    """
    if hasattr(config, "workerinput"):
        return
    shared = tempfile.mkdtemp(prefix="bridge-tests-")
    config.add_cleanup(lambda: shutil.rmtree(shared, ignore_errors=True))
    os.environ["BRIDGE_TESTS_SHARED"] = shared
    if config.getoption("numprocesses", None):
        _rewrite_assertions(config.args)
    if sys.dont_write_bytecode:
        folder = Path(find_spec("bridge").origin).parent
        for each in (folder, folder / "adapters"):  # the latter may be a link
            compileall.compile_dir(each, quiet=2)


def _rewrite_assertions(arguments: Iterable[str]) -> None:
    """Let two processes rewrite the assertions of new test files, and keep that for all workers.

    Each worker would rewrite all of them by itself, which took a twelfth of the whole run.
    """
    given = [Path(argument.partition("::")[0]) for argument in arguments]
    found = [file for each in given for file in ([each] if each.is_file() else each.rglob("*.py"))]
    new = [file for file in found if file.stem.startswith("test_") and not _is_rewritten(file)]
    command = (
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-qq",
        "-n0",
        "-p",
        "no:cacheprovider",
    )
    environ = {key: os.environ[key] for key in os.environ if key != "PYTHONDONTWRITEBYTECODE"}
    collecting = [
        subprocess.Popen([*command, *some], env=environ, stdout=subprocess.DEVNULL)
        for some in (new[0::2], new[1::2])
        if some
    ]
    for process in collecting:
        process.wait()


def _is_rewritten(file: Path) -> bool:
    kept = file.parent.glob(f"__pycache__/{file.stem}.{sys.implementation.cache_tag}-pytest-*.pyc")
    return any(each.stat().st_mtime > file.stat().st_mtime for each in kept)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills",
        type=int,
        default=None,
        help="how often the kill loop kills the server (default: a few); also prints how long the "
        "slowest start took, and the slowest of a server with nothing in its journal",
    )
    parser.addoption(
        "--power-cuts",
        type=int,
        default=1,
        help="how often the power is cut at least, in the test of that; a few times in any case",
    )
    parser.addoption(
        "--away",
        type=float,
        default=3.0,
        help="for how many seconds bridges go on without the NATS server, in the test of that",
    )


# What takes longest comes first, so that in the end no worker is left alone with it.
_FIRST = (
    "tests/promises/",
    "tests/test_exactly_once.py",
    "tests/bridge/cli/",
    "tests/bridge/ops/",
    "tests/bridge/journal/test_postgres",
    "tests/bridge/journal/test_nats",
    "tests/bridge/outbox/test_round_trip.py",
    "tests/bridge/testing/test_chat.py",
    "tests/docs/test_tutorial.py",
    "tests/docs/test_write_an_adapter.py",
    "tests/test_packaging.py",
)

_SLOW = (
    "tests/promises/",
    "tests/bridge/cli/test_broker_away.py",
    "tests/adapters/test_contract.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    by_hand = config.getoption("--kills") is not None
    for item in items:
        if item.nodeid.startswith(_SLOW) or "nats" in item.nodeid:
            item.add_marker(pytest.mark.slow)
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            # The same lines many times over; cases cover them, and tracing doubles what laws cost.
            item.add_marker(pytest.mark.no_cover)
        if by_hand and item.nodeid.startswith("tests/promises/"):
            item.add_marker(pytest.mark.timeout(0))  # hundreds of kills take what they take
    items.sort(key=lambda item: not item.nodeid.startswith(_FIRST))


@pytest.fixture
def own_log() -> Iterator[None]:
    """Let a test set up the log of the process, and put everything back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions)
    root.handlers.clear()  # setting it up closes those that it replaces, the test runner's too
    yield
    logging.captureWarnings(capture=False)
    logging.getLogger("aiohttp.access").disabled = False
    logging.getLogger("aiohttp.server").filters.clear()
    root.handlers[:], level, logging.raiseExceptions = before
    root.setLevel(level)  # not by assignment: loggers remember what they are enabled for


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Escape what no UTF-8 can hold: what was captured travels between processes."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report
