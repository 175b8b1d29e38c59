"""Every exception that bridge raises on purpose, or that a subscriber raises to decide.

::

    BridgeError
    ├── ConfigurationError    the settings are wrong; carries every problem at once
    ├── UnknownAdapter        no adapter of that name is configured or installed
    ├── MethodRefused         a provider used an HTTP method that its adapter does not know
    ├── BodyRefused           a body is too large, encoded, late or broken off
    ├── NotAuthentic          a callback did not prove where it comes from
    ├── MalformedBody         a body is not a JSON object; says where it breaks
    ├── Unreadable            one item of a body cannot be read; says where and why
    ├── Unsendable            a message may not go out as it is; says why
    │   ├── KeyConflict       something else was sent under the same key before
    │   ├── NotOwner          another responder answers the conversation
    │   ├── OptedOut          the user wants no marketing messages
    │   └── WindowClosed      the user wrote too long ago: only a template may go
    ├── Unfetchable           a file cannot be fetched, whenever it is tried; says why
    ├── Unanswered            a request got no response; says whether it may have been taken
    ├── NotTaken              a webhook's receiver did not take an event; says with which status
    ├── JournalError          an event could not be made durable, or be read back
    ├── CodecError            bytes are not an event in our own JSON, or an event does not fit it
    ├── NotRunning            the bridge was used before it started or after it stopped
    ├── Drop                  raised by a subscriber: no further try of this event
    ├── RetryIn               raised by a subscriber: when to try this event again
    └── Stop                  raised by a subscriber: no event any more, until the next start

An exception that is none of these and leaves `bridge` is a bug.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from enum import StrEnum
from typing import SupportsFloat

import attrs


class BridgeError(Exception):
    """The root of all errors that bridge raises on purpose."""


@attrs.frozen
class Problem:
    """One thing that is wrong with the settings, told so that it can be mended.

    `line` counts from 1 and is None where the settings did not come from a file.
    """

    key: str
    message: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        """Return `file:line: key: message`, leaving out what is not known."""
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigurationError(BridgeError):
    """The settings cannot be used; `problems` names everything wrong with them."""

    def __init__(self, problems: tuple[Problem, ...] | str) -> None:
        if isinstance(problems, str):
            problems = (Problem(key="", message=problems),)
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class UnknownAdapter(BridgeError):
    """No adapter of this name is configured or installed."""


class MethodRefused(BridgeError):
    """The HTTP method is none that the adapter's provider uses; `allowed` names those."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self.allowed = allowed
        super().__init__(f"only {', '.join(sorted(allowed))} is understood here")


class Fault(StrEnum):
    """Why a body was refused before anybody looked into it."""

    TOO_LARGE = "the body is larger than this server takes"
    ENCODED = "the body has a Content-Encoding, and only identity is understood here"
    LATE = "the body did not arrive in time"
    BROKEN_OFF = "the body is not as long as announced, or its transfer encoding is broken"
    NO_MEMORY = "the body is large, and too many such are arriving at once: send it again"


class BodyRefused(BridgeError):
    """A body is too large, encoded, late or broken off, or there is no memory left for it."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.value)


class NotAuthentic(BridgeError):
    """A callback did not prove where it comes from.

    The text never holds a secret, an expected signature or any of the body.
    """


class MalformedBody(BridgeError):
    """A body is not a JSON object.

    `line` and `column` count from 1; `offset` counts bytes from 0.
    The text names the fault and the place, and quotes nothing of the body.
    """

    def __init__(self, reason: str, *, line: int = 1, column: int = 1, offset: int = 0) -> None:
        self.reason = reason
        self.line = line
        self.column = column
        self.offset = offset
        super().__init__(f"{reason} (line {line}, column {column})")


class Unreadable(BridgeError):
    """One item of a body cannot be read.

    Raised and caught inside an adapter, which turns it into an `Unrecognized` event.
    `path` leads to the fault (`message.messages[2].text.body`); the text quotes nothing.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}" if path else reason)

    def below(self, prefix: str) -> Unreadable:
        """Return the same fault as seen from further out."""
        joint = "." if prefix and self.path and not self.path.startswith("[") else ""
        return Unreadable(f"{prefix}{joint}{self.path}", self.reason)


class Unsendable(BridgeError):
    """A message cannot go out as it is: the text names the channel's limit or what forbids it.

    The text quotes nothing of what the message says. A subscriber that lets it through has its
    event made a dead letter at once, since another try would meet the same.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class KeyConflict(Unsendable):
    """Something else was sent under this key before, so that it names two intents."""


class NotOwner(Unsendable):
    """The conversation is another responder's to answer, as the provider tells."""


class OptedOut(Unsendable):
    """The user has opted out of marketing messages; `since` is when."""

    def __init__(self, since: datetime) -> None:
        self.since = since
        super().__init__(
            f"the user opted out of marketing messages at {since:%Y-%m-%d %H:%M:%S}Z; only with"
            " `force` does this template go all the same"
        )


class WindowClosed(Unsendable):
    """The user's last message is too long ago: only a template may go.

    `until` is when the window closed.
    """

    def __init__(self, until: datetime) -> None:
        self.until = until
        super().__init__(
            f"a free-form message could go until {until:%Y-%m-%d %H:%M:%S}Z; send a template, or"
            " give one as `otherwise`"
        )


class Unfetchable(BridgeError):
    """A file of a message cannot be fetched, whenever it is tried; the text names no address."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Unanswered(BridgeError):
    """A request got no response.

    `in_doubt` is True where the provider may have taken it all the same. The text holds neither
    the request nor its address.
    """

    def __init__(self, reason: str, *, in_doubt: bool) -> None:
        self.reason = reason
        self.in_doubt = in_doubt
        super().__init__(reason)


class NotTaken(BridgeError):
    """The receiver of a webhook answered an event with something else than 2xx."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the receiver answers {status}")


class JournalError(BridgeError):
    """An event could not be made durable, or the journal could not be read."""


class CodecError(BridgeError):
    """These bytes are not an event in our own JSON, or an event or a state does not fit into it."""


class NotRunning(BridgeError):
    """The bridge was used before it was started or after it was stopped."""


class Drop(BridgeError):
    """Raise this in a subscriber to make the event a dead letter at once, with your reason."""


class RetryIn(BridgeError):
    """Raise this in a subscriber to have the event tried again in so many seconds, or a timedelta.

    It counts as a failed try, after the last of which the event is a dead letter. A restart may
    bring it earlier: a wait that a journal holds is never longer than `max_delay`.
    """

    def __init__(self, seconds: float | timedelta) -> None:
        wait: object = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if not isinstance(wait, SupportsFloat) or not 0 <= float(wait) < math.inf:
            raise ValueError(f"expected a number of seconds from 0 on, not {seconds!r}")
        self.seconds = float(wait)
        super().__init__(f"asked to be tried again in {self.seconds:g} s")


class Stop(BridgeError):
    """Raise this in a subscriber to be given nothing more until the bridge starts again.

    The event and all that follow wait in the journal; nothing of it counts as a failed try.
    """
