"""What becomes of the next events of somebody whose events were erased."""

from __future__ import annotations

import asyncio

from bridge.errors import RetryIn
from bridge.model import Message
from bridge.runtime import Bridge
from tests.bridge.events import USER_PHONE, message

PATIENCE = 60.0


async def test_nobody_waits_behind_what_was_erased(any_journal):
    """After a purge the user's next message comes at once, not when the erased one would have.

    That had failed, and was to be tried again an hour later, with another one behind it.
    """
    given: list[str] = []

    async def crm(event: Message) -> None:
        given.append(event.message_id)
        if event.message_id == "fails":
            raise RetryIn(3600)

    bridge = Bridge(journal=any_journal())
    bridge.on(Message, name="crm")(crm)
    async with bridge, asyncio.timeout(PATIENCE):
        await bridge.journal.append([message("fails"), message("behind it")])
        await bridge.caught_up()
        assert await bridge.operators.purge(USER_PHONE) == 2
        await bridge.journal.append([message("later")])
        while "later" not in given:
            await asyncio.sleep(0.001)
    assert given == ["fails", "later"]
