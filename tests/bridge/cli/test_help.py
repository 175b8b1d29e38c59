"""Every command explains itself, with an example, on a terminal of 80 columns."""

import shutil
import subprocess

import pytest

from bridge.cli.main import app


def names(application, *above):
    """Return the names of all commands, those of commands within commands too."""
    for name in application:
        if name.startswith("-"):
            continue
        command = application[name]
        below = [other for other in command if not other.startswith("-")]
        if below:
            yield from names(command, *above, name)
        else:
            yield (*above, name)


COMMANDS = sorted(names(app))


@pytest.mark.parametrize("name", [(), *COMMANDS], ids=" ".join)
def test_help_fits_the_terminal(command, monkeypatch, name):
    """No line of it is longer than 80 characters."""
    monkeypatch.setenv("COLUMNS", "80")
    outcome = command(*name, "--help")
    assert outcome.code == 0
    assert outcome.err == ""
    assert max(map(len, outcome.lines)) <= 80


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_shows_an_example(command, monkeypatch, name):
    """A call that works as it stands is in each command's help, and it is that command's."""
    monkeypatch.setenv("COLUMNS", "200")
    [example] = [line for line in command(*name, "--help").lines if line.startswith("Example: ")]
    assert example.startswith(f"Example: bridge {' '.join(name)}")


def test_the_overview_names_every_command(command, monkeypatch):
    """`bridge`, `bridge -h` and `bridge --help` have a line for each, with its summary."""
    monkeypatch.setenv("COLUMNS", "120")
    assert ("trigger",) in COMMANDS
    for arguments in ((), ("-h",), ("--help",)):
        overview = command(*arguments)
        assert overview.code == 0
        for name in {name for name, *_ in COMMANDS}:
            [line] = [line for line in overview.lines if line.startswith(f"│ {name} ")]
            assert len(line.strip("│ ").split(maxsplit=1)) == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_the_command(command, workplace, shell):
    """The script for each shell knows the commands, and the shell itself finds no fault in it."""
    outcome = command("completion", shell)
    assert outcome.code == 0
    assert outcome.err == ""
    assert all(name[0] in outcome.out for name in COMMANDS)
    assert "bad-signature" in outcome.out
    if shutil.which(shell):
        script = workplace / "script"
        script.write_text(outcome.out)
        subprocess.run([shell, "-n", script], check=True)


def test_bash_completes_a_word(command, workplace):
    """With the script loaded, bash completes the beginning of a command."""
    script = workplace / "script"
    script.write_text(command("completion", "bash").out)
    asked = (
        f"source {script}; COMP_WORDS=(bridge tri); COMP_CWORD=1; "
        "$(complete -p bridge | sed 's/.*-F \\([^ ]*\\).*/\\1/'); echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", asked], check=True, capture_output=True, text=True)
    assert done.stdout == "trigger\n"
