"""`bridge completion`: the script that lets a shell complete the command."""

from __future__ import annotations

import sys
from typing import Literal

from bridge.cli.main import app
from bridge.cli.terminal import Exit


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print the script with which a shell completes `bridge` at a press of the tab key.

    For bash, put it where bash-completion looks: `~/.local/share/bash-completion/completions/`;
    for fish in `~/.config/fish/completions/bridge.fish`; for zsh as `_bridge` into a directory
    of its `fpath`.

    Example: `bridge completion bash > ~/.local/share/bash-completion/completions/bridge`

    Parameters
    ----------
    shell
        Whose script: bash, zsh or fish.
    """
    sys.stdout.write(app.generate_completion(prog_name="bridge", shell=shell))
    return Exit.OK
