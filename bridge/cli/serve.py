"""`bridge serve`: the server's options."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from bridge.cli import config as configuration
from bridge.cli.config import ConfigOption
from bridge.cli.terminal import UsageError

DEVELOPING: Final = "_BRIDGE_DEVELOPING"
"""The variable of the environment that tells a server that `--dev` starts it."""

_LAST_PORT: Final = 65535


def serve(
    program: str | None = None,
    /,
    *,
    config: ConfigOption = None,
    host: str | None = None,
    port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=_LAST_PORT))] = None,
    log_format: Literal["auto", "console", "json"] | None = None,
    dev: bool = False,
) -> int:
    """Take callbacks over HTTP until Ctrl-C or SIGTERM.

    Requests and deliveries in progress are finished before it stops.

    Example: `bridge serve bot:bridge --dev`

    Parameters
    ----------
    program
        The bridge of a program of yours, as MODULE:NAME; it has its configuration already.
    config
        The configuration of a bridge without a program; by default $BRIDGE_CONFIG, then
        ./config.toml.
    host
        Listen on this address instead of the configured one; 0.0.0.0 is every one.
    port
        Listen on this port instead of the configured one; 0 picks a free one.
    log_format
        Write the log so instead of as configured: `console` is for people, `json` for machines.
    dev
        While you write subscribers: a log for people with whole tracebacks, and the server
        starts again when the configuration or a subscriber's code changes. Events that wait
        for their next try are tried at once.
    """
    if program is not None and config is not None:
        raise UsageError("--config goes without a program, whose bridge has its configuration")
    path = configuration.find(config, or_example=False) if program is None else None
    if dev:
        options = {"--config": path, "--host": host, "--port": port}
        from bridge.cli.reload import supervise

        os.environ[DEVELOPING] = "1"
        return supervise(_command(program, options, log_format or "console"), program, path)
    from bridge.cli.serving import run

    return run(program, path, host=host, port=port, log_format=log_format)


def _command(program: str | None, options: Mapping[str, object], log_format: str) -> list[str]:
    """Return how this very program serves with these options, and without --dev."""
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    words = [f"--log-format={log_format}", *given, *filter(None, (program,))]
    return [sys.executable, "-P", "-m", "bridge", "serve", *words]
