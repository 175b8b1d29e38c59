"""The bot of the kill loop: it answers each message with its words."""

from __future__ import annotations

from bridge import Bridge, Message, Text


async def answer(message: Message[Text]) -> None:
    await Bridge.current().reply(message, f"re: {message.content.text}")
