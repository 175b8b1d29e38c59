"""The command `bridge`, and the one place that turns errors into words and exit codes."""

from __future__ import annotations

import ast
import errno
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, Final, NoReturn

from cyclopts import App, CycloptsError, Parameter

from bridge.cli.terminal import Exit, UsageError, fail, say
from bridge.errors import BridgeError, ConfigurationError, UnknownAdapter
from bridge.model.masking import neutralise

_HELP: Final = """\
    Take callbacks from WhatsApp, RCS and INCS; hand out one kind of event.

    A first try, in two terminals: `bridge init --yes && bridge serve`, then
    `bridge trigger --all`. Without a server: `bridge normalize incs callback.json`.

    Every command explains itself with `--help`.

    Exit codes: 0 done, 1 failed, 2 called wrongly, 3 configured wrongly, 130 interrupted by
    Ctrl-C, 143 ended by SIGTERM."""


def _version() -> str:
    from importlib import metadata

    return f"incs-bridge {metadata.version('incs-bridge')}"


def _application() -> App:
    return App(
        name="bridge",
        help=_HELP,
        version=_version,
        help_format="markdown",
        version_format="plaintext",
        default_parameter=Parameter(negative="", show_default=False),
        suppress_keyboard_interrupt=False,  # the exit code is ours to give
        print_error=False,  # `_misused` does
    )


app = _application()
_COMMANDS: Final = (
    *("init", "config", "serve", "check", "normalize", "trigger", "schema", "adapters"),
    *("status", "tail", "show", "events", "dead", "replay", "reparse", "subscribers", "purge"),
    *("send", "outbox"),
    *("backup", "export", "import", "completion"),
)
_SYNONYMS: Final = {
    "drop": "discard delete remove rm clear",
    "retry": "requeue resend redrive again rerun",
    "list": "ls all",
    "show": "get view print cat inspect",
    "serve": "run start up server dev",
    "check": "validate verify lint test doctor",
    "trigger": "post emit fire simulate",
    "tail": "log logs follow watch",
    "events": "search find query messages",
    "status": "health ready info",
    "purge": "erase",
    "init": "new create setup",
}
"""Words that somebody may try, for the command that does it."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_COLLECT_AFTER: Final = 50_000
_MODULES: Final = {"import": "importing"}  # a word of Python's is no module
for _name in _COMMANDS:
    # Named by its path, so that a command loads only what it needs itself.
    _module = _MODULES.get(_name, _name)
    app.command(f"bridge.cli.{_module}:{_module}", name=_name)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    debug: bool = False,
) -> int:
    """Run a command; no traceback leaves it.

    Parameters
    ----------
    debug
        Show where in the program an error arose.
    """
    try:
        code = app(tokens, exit_on_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _misused(error)
    except BrokenPipeError:
        # The reader has seen enough (`bridge … | head`). What is still buffered goes nowhere,
        # or the interpreter would complain about it as it ends.
        _print_no_more()
        return Exit.OK
    except OSError as error:
        if error.errno not in _FULL:
            return _explained(error, debug=debug)
        _print_no_more()
        fail(f"{error.filename or 'standard output'} cannot be written: {error.strerror}")
        return Exit.FAILURE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user
        return _explained(error, debug=debug)
    return code or Exit.OK


def _print_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _misused(error: CycloptsError) -> Exit:
    from cyclopts import CycloptsPanel, UnknownCommandError, UnusedCliTokensError
    from rich.console import Console

    if isinstance(error, UnusedCliTokensError):
        words = " ".join(map(neutralise, error.unused_tokens or ()))
        error = CycloptsError(msg=f'Unexpected argument "{words}": see --help.')
    if isinstance(error, UnknownCommandError) and error.unused_tokens and error.app:
        word = error.unused_tokens[0]
        for name, words in _SYNONYMS.items():
            if word in words.split() and name in error.app:
                error = CycloptsError(msg=f'Unknown command "{word}". Did you mean "{name}"?')
                break
    Console(stderr=True).print(CycloptsPanel(error))
    return Exit.USAGE


def _explained(error: Exception, *, debug: bool) -> Exit:
    match error:
        case ConfigurationError():
            for problem in error.problems:
                fail(str(problem))
            code = Exit.CONFIGURATION
        case UsageError() | UnknownAdapter():
            fail(str(error))
            code = Exit.USAGE
        case BridgeError():
            fail(str(error))
            code = Exit.FAILURE
        case _:
            fail(f"this is a bug: {type(error).__name__}")
            if not debug:
                say("Please report it; `--debug` shows where it happened.")
            code = Exit.FAILURE
    if debug:
        say("".join(traceback.format_exception(error)).rstrip())
    return code


def _overview() -> App:
    """Return what shows the summary of every command without loading them all."""
    overview = _application()
    for name in _COMMANDS:
        overview.command(App(name=name, help=_summary(name)))
    overview.meta.default(launch)
    return overview


def _summary(name: str) -> str:
    module = _MODULES.get(name, name)
    source = files("bridge.cli").joinpath(f"{module}.py").read_text("utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == module:
            return (ast.get_docstring(node) or "").partition("\n\n")[0]
    return app[name].help  # it has commands of its own


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and end the process with its exit code."""
    gc.set_threshold(_COLLECT_AFTER)  # what is imported stays: looking through it finds nothing
    tokens = sys.argv[1:] if arguments is None else arguments
    is_overview = not tokens or tokens[0] in app.help_flags
    try:
        code = (_overview() if is_overview else app).meta(
            tokens, exit_on_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        code = _misused(error)
    sys.exit(code or Exit.OK)
