"""What others do to the log: handlers that raise, and a set-up that disables every logger."""

from __future__ import annotations

import asyncio
import logging
import logging.config
from collections.abc import Iterator
from logging import Logger

import pytest

from bridge.process.logs import Guarded
from bridge.runtime import Bridge
from tests.bridge.delivery.test_misbehaviour import a_bridge, settled
from tests.bridge.events import message

KEY = message("a").key


@pytest.mark.parametrize("where", ["handler", "filter"])
@pytest.mark.parametrize("kind", [RuntimeError, SystemExit, asyncio.CancelledError])
async def test_a_handler_that_raises_ends_nothing(where, kind, capsys, monkeypatch):
    """A line that cannot be logged costs the line: events go on, and standard error says why."""

    def raising(*_: object) -> bool:
        raise kind("the server of the log is away")

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
    told = f"a handler or filter of the log raised {kind.__name__} at "
    assert capsys.readouterr().err.startswith(f"{told}{__file__}:")


@pytest.fixture
def _enabled_again() -> Iterator[None]:
    """Give back the loggers of everybody else."""
    loggers = [each for each in logging.Logger.manager.loggerDict.values() if type(each) is Logger]
    before = {logger: logger.disabled for logger in loggers}
    yield
    for logger, disabled in before.items():
        logger.disabled = disabled


@pytest.mark.usefixtures("_enabled_again")
@pytest.mark.parametrize("when", ["before it starts", "while it runs"])
async def test_a_set_up_of_others_silences_nothing(when, caplog):
    """A subscriber fails by name though somebody has set up logging, which disables loggers.

    That is what `logging.config.dictConfig` and `fileConfig` do unless they are told otherwise, as
    in the migrations of Alembic: https://alembic.sqlalchemy.org/en/latest/tutorial.html
    """

    def set_up() -> None:
        logging.config.dictConfig({"version": 1})

    bridge = a_bridge()

    @bridge.on("message", name="crm")
    def crm(event):
        if when == "while it runs":
            set_up()
        raise ValueError

    if when == "before it starts":
        set_up()
    async with bridge:
        await bridge.journal.append([message("a")])
        await settled(bridge, "crm")
    told = [each.getMessage() for each in caplog.records]
    assert [line.split(": ")[0] for line in told] == [f"subscriber crm failed on {KEY}"] * 2
