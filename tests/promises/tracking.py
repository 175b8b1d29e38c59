"""A subscriber for server processes whose effect is a row in a table of its own."""

from __future__ import annotations

from psycopg import AsyncConnection

from bridge import Message


async def track(message: Message, connection: AsyncConnection) -> None:
    """Add a row, whose id says in which order effects were made."""
    await connection.execute(
        "INSERT INTO public.effects (conversation, message) VALUES (%s, %s)",
        (message.conversation.id, message.message_id),
    )
