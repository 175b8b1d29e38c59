"""Prove where a callback comes from: secrets, tokens and signatures, in constant time.

Everything compares raw bytes; a malformed secret or signature simply does not match. Nothing here
puts a secret or an expected signature into a return value, an exception or a `repr`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import TypeAlias, final

from bridge.errors import ConfigurationError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


@final
class Secret:
    """A string that is never shown: only `reveal` gives it out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __bool__(self) -> bool:
        """Return whether the secret is anything but empty."""
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        """Compare with another secret in constant time."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        """Return a hash, so that settings stay hashable."""
        return hash(self._value)

    def __repr__(self) -> str:
        """Show that there is a secret, and nothing of it."""
        return "Secret(********)"

    __str__ = __repr__


def secrets_of(given: Secret | str | Iterable[Secret | str]) -> tuple[Secret, ...]:
    """Return the secrets that a program gives to settings, also where it gives plain strings.

    For the `converter` of a field. A single one stands for itself: taken for a collection, each
    letter of a string would be a secret that opens the door. Raises `ConfigurationError`, which
    shows nothing of what was given, where something is neither a string nor a `Secret`.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        return (_secret(given),)
    return tuple(map(_secret, given))


def secret_of(given: Secret | str | None) -> Secret | None:
    """Return the one secret that a program gives to settings, as `secrets_of` does with several."""
    return None if given is None else _secret(given)


def _secret(given: object) -> Secret:
    if isinstance(given, Secret):
        return given
    if isinstance(given, str):
        return Secret(given)
    raise ConfigurationError(f"a secret must be a string, and not {type(given).__name__}")


class Tokens:
    """The tokens that open a door; several at once, so that they can be rotated.

    Slashes at either end do not count: an address that ends with a token loses them.
    """

    __slots__ = ("_digests",)

    def __init__(self, secrets: Iterable[Secret]) -> None:
        # Digests are of one length, so that a comparison does not tell how long a token is.
        self._digests = tuple(_digest(secret.reveal()) for secret in secrets if secret)

    def __bool__(self) -> bool:
        """Return whether there is any token at all."""
        return bool(self._digests)

    def match(self, presented: str | None) -> bool:
        """Return whether the presented token is one of ours; every one of them is compared."""
        if presented is None or not presented.strip("/"):
            return False
        digest = _digest(presented)
        found = False
        for expected in self._digests:
            found |= hmac.compare_digest(digest, expected)
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.strip("/").encode("utf-8", "surrogatepass")).digest()


class Signatures:
    """HMAC signatures of one algorithm under several secrets at once.

    The keyed state is prepared once and copied for each callback.
    """

    __slots__ = ("_keyed", "_size")

    def __init__(self, algorithm: str, secrets: Iterable[Secret]) -> None:
        self._keyed = tuple(
            hmac.new(secret.reveal().encode(), digestmod=algorithm) for secret in secrets if secret
        )
        self._size = hashlib.new(algorithm).digest_size

    def __bool__(self) -> bool:
        """Return whether there is any secret at all."""
        return bool(self._keyed)

    def match(self, payload: bytes, signature: bytes) -> bool:
        """Return whether the signature (raw bytes) is the payload's under any of the secrets."""
        if len(signature) != self._size:
            return False
        found = False
        for keyed in self._keyed:
            state = keyed.copy()
            state.update(payload)
            found |= hmac.compare_digest(state.digest(), signature)
        return found

    def sign(self, payload: bytes) -> bytes:
        """Return the payload's signature under the first secret, as a provider would make it."""
        state = self._keyed[0].copy()
        state.update(payload)
        return state.digest()


def client_address(
    peer: str | None, forwarded_for: Iterable[str], trusted: tuple[Network, ...]
) -> Address | None:
    """Return who sent a request, believing `X-Forwarded-For` only as far as proxies are trusted.

    The header's values are read from the right: each address that is a trusted proxy vouches
    for the one before it, and the first that is not is the client. An entry that is no address
    ends the chain: then the sender is not known, and None is returned.
    """
    address = _address(peer)
    if address is None or not trusted:
        return address
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
    while hops and any(address in network for network in trusted):
        address = _address(hops.pop())
        if address is None:
            return None
    return address


@lru_cache(maxsize=1024)  # providers and proxies call from few addresses, again and again
def _address(value: str | None) -> Address | None:
    if not value:
        return None
    if value.startswith("["):
        value = value[1:].partition("]")[0]
    elif value.count(":") == 1:
        value = value.partition(":")[0]
    try:
        address = ip_address(value.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
