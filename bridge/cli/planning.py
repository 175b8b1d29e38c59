"""Which callbacks are posted: so many, in this order, with these changes, forged or not."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import attrs

from bridge.adapter import SignedRequest
from bridge.cli.changes import Change
from bridge.cli.samples import Target


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be posted.

    All targets are posted in `rounds`, each round with new ids unless `keep_ids`. After each
    callback come `duplicates` of it, byte for byte, unless the whole is shuffled by `seed`.
    """

    targets: tuple[Target, ...]
    changes: tuple[Change, ...] = ()
    rounds: int = 1
    duplicates: int = 0
    rate: float | None = None
    concurrency: int = 1
    seed: int | None = None
    keep_ids: bool = False
    forged: bool = False

    def __len__(self) -> int:
        """Return how many requests that makes."""
        return self.rounds * len(self.targets) * (1 + self.duplicates)

    def order(self) -> Sequence[int]:
        """Return the numbers of the requests, in the order in which they are posted."""
        if self.seed is None:
            return range(len(self))
        numbers = list(range(len(self)))
        random.Random(self.seed).shuffle(numbers)  # noqa: S311 - to be repeated, not secret
        return numbers


def requests_of(plan: Plan) -> Iterator[tuple[Target, SignedRequest]]:
    """Make the requests one by one, as they are needed."""
    run = secrets.token_hex(8)
    began = datetime.now(UTC)
    copies = 1 + plan.duplicates
    for number in plan.order():
        round_, place = divmod(number // copies, len(plan.targets))
        target = plan.targets[place]
        # The copies of a callback are to be equal, wherever they stand, so its time is planned.
        seconds = 0 if plan.rate is None else number // copies / plan.rate
        due = began + timedelta(seconds=seconds)
        nonce = None if plan.keep_ids else f"{run}/{round_}"
        outgoing = target.source.authenticate(target.made(plan.changes, nonce=nonce, now=due))
        yield target, _forged(outgoing) if plan.forged else outgoing


def _forged(outgoing: SignedRequest) -> SignedRequest:
    """Return a request with one character changed in everything that could be its proof."""
    return attrs.evolve(
        outgoing,
        tail=_altered(outgoing.tail),
        headers={
            name: value if name.lower() == "content-type" else _altered(value)
            for name, value in outgoing.headers.items()
        },
    )


def _altered(proof: str) -> str:
    # In the middle, where a digit stays within hexadecimal and base64, and all its bits count.
    middle = len(proof) // 2
    digit = "0" if proof[middle : middle + 1] != "0" else "1"
    return proof[:middle] + digit + proof[middle + 1 :] if proof else proof
