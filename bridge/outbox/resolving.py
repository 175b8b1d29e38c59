"""Names that lead to public addresses, and to no others."""

from __future__ import annotations

import socket
from typing import final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from bridge.outbox.media import NotPublic, is_public


@final
class PublicResolver(AbstractResolver):
    """Resolves names to public addresses; raises `NotPublic` for the others."""

    def __init__(self) -> None:
        self._resolver = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See `AbstractResolver.resolve`."""
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            if not is_public(each["host"]):
                raise NotPublic
        return found

    async def close(self) -> None:
        """See `AbstractResolver.close`."""
        await self._resolver.close()
