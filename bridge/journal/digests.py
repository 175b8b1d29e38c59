"""What stands for keys and names in the indexes of all engines: short, and no personal data.

The digest of a key is the hash of what follows its trust domain, combined with that of the domain.
So a key of which only the digest is kept can still be moved into a domain.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

_SIZE: Final = 16
_blank: Final = blake2b(digest_size=_SIZE).copy  # in less time than a new one takes
_DOMAINS: Final = 256  # whose hashes are cached


def digest(name: str) -> bytes:
    """Return the digest of a key or a name, which begins with its domain and a slash."""
    domain, _, rest = name.partition("/")
    return moved(hashed(rest), domain)


def moved(found: bytes, domain: str) -> bytes:
    """Return the digest of a key in a domain; `found` is the hash of the key without it."""
    return (int.from_bytes(found) ^ _hash_of_domain(domain)).to_bytes(_SIZE)


def hashed(text: str) -> bytes:
    """Return the hash of a text: BLAKE2b."""
    found = _blank()
    found.update(text.encode("utf-8", "surrogatepass"))
    return found.digest()


@lru_cache(_DOMAINS)
def _hash_of_domain(domain: str) -> int:
    return int.from_bytes(hashed(domain))
