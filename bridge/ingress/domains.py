"""Trust domains: which configured adapters may share one."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.adapter import Adapter, Signing
from bridge.errors import ConfigurationError, Problem


class Member:
    """An adapter in its trust domain, by default one of its own.

    Raises `ConfigurationError` for what is no adapter.
    """

    def __init__(
        self, name: str, adapter: Adapter, domain: str | None, *, believe_unsigned: bool
    ) -> None:
        if isinstance(adapter, type) or not isinstance(adapter, Adapter):
            raise ConfigurationError(f"adapter {name!r}: expected an adapter, not its class")
        self.name = name
        self.domain = name if domain is None else domain
        self.is_signed = isinstance(adapter, Signing) and adapter.signed
        self.is_believed = self.is_signed or believe_unsigned

    def check(self, others: Iterable[Member]) -> None:
        """Raise `ConfigurationError` where the domain conflicts with those of other adapters."""
        if not self.domain or "/" in self.domain:
            message = f"expected a name without a slash for the domain of adapter {self.name!r}"
            raise ConfigurationError((Problem("domain", message),))
        sharing = [self, *(each for each in others if each.domain == self.domain)]
        for each in sharing:
            if not each.is_believed and any(other.is_signed for other in sharing):
                message = (
                    f"{each.name!r} verifies no signatures, and the domain {self.domain!r} holds "
                    "adapters that do: what it is told counts as theirs. Give it a domain of its "
                    "own, or set believe_unsigned = true for it"
                )
                raise ConfigurationError((Problem("domain", message),))
