"""The audit log: a line for everything that an operator changes, exports or is refused.

The logger is `bridge.audit`. Each line tells the time, client, operator, action and number. The
person whom it is about is a hash, slow enough that trying all phone numbers takes too long.
"""

from __future__ import annotations

import logging
from functools import partial
from hashlib import scrypt
from typing import Final

from bridge.observer import After, Around, Observer, OperationDetails
from bridge.throttle import Throttle

_SALT: Final = b"bridge.audit"
_SIZE: Final = 8
_log: Final = logging.getLogger(__name__.replace(".ops", ""))


def hashed(subject: str) -> str:
    """Return the hash of a phone or a user id for the record; it takes some 50 ms."""
    return scrypt(subject.encode(), salt=_SALT, n=1 << 14, r=8, p=1, dklen=_SIZE).hex()


class Audit(Observer):
    """Writes the record. Refusals of one kind are one line in ten seconds, with their number."""

    def __init__(self) -> None:
        self._throttle = Throttle(_log)

    def operation(self, details: OperationDetails, /) -> Around:
        """Record an operation with its outcome, when it ends."""
        return After(partial(self._record, details))

    def _record(self, details: OperationDetails, error: BaseException | None) -> None:
        outcome = details.outcome(error)
        fields = {
            "action": details.action,
            "operator": details.operator,
            "client": details.client,
            "outcome": outcome,
            "count": details.count,
            "subject": details.subject,
            "reason": details.refusal,
        }
        told = {name: value for name, value in fields.items() if value is not None}
        message = f"{details.action} by {details.operator} from {details.client}: {outcome}"
        if details.refusal is not None:
            self._throttle.log(logging.WARNING, message, key=f"{details.refusal}", **told)
        else:
            _log.log(logging.INFO if error is None else logging.WARNING, message, extra=told)
