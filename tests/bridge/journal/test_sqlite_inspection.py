# ruff: noqa: ASYNC220, ASYNC221, ASYNC240 - small files and short processes
"""`check` looks at a journal's file as opening would find it, and changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from bridge.errors import ConfigurationError
from bridge.journal.sqlite import SqliteJournal, check
from bridge.settings import JournalSettings
from tests.bridge.events import message
from tests.bridge.journal.files import run
from tests.bridge.journal.test_sqlite_upgrades import make


def found(path: Path, **options: int) -> list[str]:
    """Return what needs attention, and see that looking changed nothing."""
    before = contents(path.parent)
    problems = check(JournalSettings(path=path, **options))
    assert contents(path.parent) == before
    assert {problem.key for problem in problems} <= {"path"}
    return [problem.message for problem in problems]


def contents(folder: Path) -> dict[Path, bytes]:
    return {each: each.read_bytes() for each in folder.iterdir() if each.is_file()}


def refused(path: Path) -> str:
    before = contents(path.parent) if path.parent.exists() else {}
    with pytest.raises(ConfigurationError) as caught:
        check(JournalSettings(path=path))
    (problem,) = caught.value.problems
    assert problem.key == "path"
    assert (contents(path.parent) if path.parent.exists() else {}) == before
    return problem.message


async def test_where_all_is_well(path: Path) -> None:
    """Nothing is said of a journal that is yet to be made, nor of one that was closed."""
    assert found(path) == []
    async with SqliteJournal(path) as journal:
        await journal.append([message("a")])
    assert found(path) == []


async def test_what_a_kill_left(path: Path) -> None:
    """A log that a killed process left is no reason for anything."""
    code = """if True:
        import asyncio, os, sys
        from bridge.journal.sqlite import SqliteJournal, check
        async def main():
            async with SqliteJournal(sys.argv[1]):
                os.kill(os.getpid(), 9)
        asyncio.run(main())
    """
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert path.with_name(f"{path.name}-wal").exists()
    assert found(path) == []


async def test_where_it_is_open(path: Path) -> None:
    """A journal that is open is said to be, and by whom; it goes on undisturbed."""
    code = """if True:
        import asyncio, sys
        from bridge.journal.sqlite import SqliteJournal, check
        async def main():
            async with SqliteJournal(sys.argv[1]):
                print("open", flush=True)
                sys.stdin.read()
        asyncio.run(main())
    """
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        (told,) = found(path)
        assert f"is open in process {process.pid}: another `bridge serve`" in told
        process.communicate()
    async with SqliteJournal(path) as journal:
        (told,) = found(path)
        assert "is open in this process" in told
        await journal.append([message("a")])


def no_folder(path: Path) -> Path:
    return path.parent / "none" / path.name


def a_folder(path: Path) -> Path:
    path.mkdir()
    return path


def a_text(path: Path) -> Path:
    path.write_text("my notes")
    return path


def a_database(path: Path) -> Path:
    with apsw.Connection(str(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    return path


def a_newer_format(path: Path) -> Path:
    make(path, 99)
    return path


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (no_folder, "does not exist"),
        (a_folder, "Is a directory"),
        (a_text, "is not a journal, and is left alone"),
        (a_database, "is an SQLite file, but not a journal"),
        (a_newer_format, "has format 99"),
    ],
)
async def test_where_opening_would_fail(
    path: Path, place: Callable[[Path], Path], told: str
) -> None:
    """Whatever would keep a bridge from starting is told as a mistake of the path."""
    assert told in refused(place(path))


async def test_what_needs_attention(path: Path) -> None:
    """An upgrade, damage, open permissions, what was set aside and little space are warnings."""
    make(path)
    path.chmod(0o644)
    path.with_name(f"{path.name}.damaged-20260101T000000Z").touch()
    upgrade, permissions, aside, space = found(path, min_free_space=1 << 60)
    assert "has format 3: `bridge serve` upgrades it to" in upgrade
    assert f"chmod 600 {path}" in permissions
    assert "was set aside: look into it, then move it away" in aside
    assert space.startswith("only ")


async def test_damage(path: Path) -> None:
    """A damaged journal is a warning, since a start sets it aside."""
    async with SqliteJournal(path) as journal:
        await run(journal, "SELECT 1")
    path.write_bytes(b"\0" * 512 + path.read_bytes()[512:])
    (told,) = found(path)
    assert "`bridge serve` sets it aside, and a new journal begins" in told
