"""Handlers that raise."""

from __future__ import annotations

import logging

import pytest

from bridge.logs import Guarded
from bridge.runtime import Bridge
from tests.bridge.delivery.test_misbehaviour import a_bridge, settled
from tests.bridge.events import message


def raising(*_: object) -> bool:
    raise RuntimeError("the server of the log is away")


@pytest.mark.parametrize("where", ["handler", "filter"])
async def test_a_handler_that_raises_ends_nothing(where, capsys, monkeypatch):
    """A line that cannot be logged costs the line: events go on, and standard error says why."""
    monkeypatch.setattr(Guarded, "told_at", -1e9)
    handler, root = logging.Handler(), logging.getLogger()
    if where == "handler":
        monkeypatch.setattr(handler, "emit", raising)
    else:
        handler.addFilter(raising)
    bridge: Bridge = a_bridge()

    @bridge.on("message", name="crm")
    def crm(event):
        raise ValueError

    root.addHandler(handler)
    try:
        async with bridge:
            await bridge.journal.append([message("a"), message("b")])
            await settled(bridge, "crm")
            letters = await bridge.journal.dead_letters()
    finally:
        root.removeHandler(handler)
    assert len(letters) == 2
    told = "a handler or filter of the log raised RuntimeError at "
    assert capsys.readouterr().err.startswith(f"{told}{__file__}:")
