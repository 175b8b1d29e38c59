"""What a sender is: a message in, an HTTP request out; a response in, an outcome out.

Pure, as the receiving half is: no network, files, clock or globals. The outbox alone sends.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol, Self, TypeAlias, final, runtime_checkable
from urllib.parse import urlsplit

import attrs
import orjson

from bridge.adapter.capabilities import Capabilities
from bridge.adapter.contract import Response
from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError, Unanswered, Unsendable
from bridge.model import JsonValue, Message, Party, ProviderError
from bridge.model.masking import mask_phones_in

_LONGEST_PAUSE: Final = 24 * 3600.0
_NOT_FOUND: Final = (404, 405, 410)


@final
@attrs.frozen(kw_only=True)
class ServiceAccount:
    """A key that is exchanged for short-lived bearer tokens (RFC 7523).

    `key` is the JSON of the key's file, `scope` what the token is for.
    """

    key: Secret
    scope: str


@final
@attrs.frozen(kw_only=True)
class Request:
    """An HTTP request that a sender composed.

    `repeatable` says whether sending the same request twice does what sending it once does.
    With `authorization`, the client adds a bearer token that it got for the account.
    """

    method: str = "POST"
    url: str = attrs.field(repr=mask_phones_in)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    authorization: ServiceAccount | None = None
    repeatable: bool = False


class Remedy(StrEnum):
    """What to do about a refusal; `advice` says it in words."""

    advice: str

    def __new__(cls, value: str, advice: str) -> Self:
        """Return a member by its word and its advice."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.advice = advice
        return member

    SLOW_ACCOUNT = (
        "slow_account",
        "The account sends too fast: slow it down and send this message again.",
    )
    HOLD_CONVERSATION = (
        "hold_conversation",
        "Too many messages to this one user: hold the conversation, then go on with this message.",
    )
    AGAIN = "again", "The trouble is the provider's and will pass: send again, ever less often."
    STOP_ACCOUNT = (
        "stop_account",
        "Nothing of this account will go until a person acts: credentials, billing, policy.",
    )
    USE_TEMPLATE = "use_template", "The customer-service window is closed: only a template may go."
    OPTED_OUT = "opted_out", "The user does not want such messages."
    NOT_TODAY = (
        "not_today",
        "The provider spares the user further messages: not again within 24 hours.",
    )
    MEND_TEMPLATE = "mend_template", "The template, or what was filled into it, is wrong."
    MEND_MESSAGE = "mend_message", "The request is wrong; sent again it will be refused again."
    UNREACHABLE = "unreachable", "The user cannot be reached on this channel: try the next one."
    REFUSED = (
        "refused",
        "Refused for a reason that is not documented; sending again is not known to help.",
    )

    @property
    def is_final(self) -> bool:
        """Whether the message has failed: sending it again will not help."""
        return self not in _TEMPORARY


_TEMPORARY: Final = frozenset(
    {Remedy.SLOW_ACCOUNT, Remedy.HOLD_CONVERSATION, Remedy.AGAIN, Remedy.STOP_ACCOUNT}
)


@final
@attrs.frozen(kw_only=True)
class Accepted:
    """The provider took the message.

    `message_id` is its id there, None where the response names none; `party` holds what the
    response tells about who the user is. `held` is True where the provider keeps the message
    back for now, which `provider_status`, its own word, explains.
    """

    message_id: str | None = None
    party: Party | None = None
    provider_status: str = "accepted"
    held: bool = False


@final
@attrs.frozen(kw_only=True)
class Refused:
    """The provider did not take the message, or nobody knows whether it did.

    `in_doubt` is True where the message may have been accepted all the same: settle that before
    it is sent again, unless the request is `repeatable`. `retry_after` is in seconds and None
    where the provider does not say.
    """

    error: ProviderError
    remedy: Remedy
    retry_after: float | None = None
    in_doubt: bool = False

    @property
    def reason(self) -> str:
        """Why, in the provider's words, which may quote a phone: that is masked."""
        words = (self.error.code, self.error.title)
        return mask_phones_in(" ".join(each for each in words if each)) or self.remedy

    @property
    def as_error(self) -> Unsendable | Unanswered:
        """The refusal as an exception, which tells whether asking again may help."""
        if self.remedy.is_final or self.remedy is Remedy.STOP_ACCOUNT:
            return Unsendable(self.reason)
        return Unanswered(self.reason, in_doubt=self.in_doubt)


Outcome: TypeAlias = Accepted | Refused


@final
@attrs.frozen(kw_only=True)
class Route:
    """An account on a channel that messages can go out from; `name` is what its owner calls it."""

    channel: str
    account: str | None = None
    phone: str | None = None
    name: str | None = None


@runtime_checkable
class Sender(Protocol):
    """Translates messages into one provider's requests; pure, and safe to share between tasks."""

    @property
    def routes(self) -> Sequence[Route]:
        """The accounts that the settings name, for messages that answer none."""
        ...

    @property
    def channels(self) -> Mapping[str, Capabilities]:
        """What can be sent on each channel that the provider serves, by the channel's name."""
        ...

    def compose(self, message: Message, /, *, ttl: float | None = None) -> Request:
        """Return the request that sends a message, which is one of `fitting.parts`.

        `message.message_id` is our own id, a UUID. `ttl` is for how many seconds the message is
        worth delivering; it is handed on where the provider takes it. Raises `Unsendable`, and
        nothing else.
        """
        ...

    def conclude(self, message: Message, response: Response, /) -> Outcome:
        """Say what the response to that request means.

        Total: never raises, whatever the response holds.
        """
        ...

    def remedy(self, error: ProviderError, /) -> Remedy:
        """Return what to do about an error that a callback reports for a message sent before."""
        ...


@runtime_checkable
class SenderSource(Protocol):
    """An adapter that can send as well."""

    def sender(self) -> Sender:
        """Return the sender for this adapter's settings.

        Raises `ConfigurationError` with the name of each setting that sending lacks.
        """
        ...


@final
@attrs.frozen(kw_only=True)
class Probe:
    """A request that shows whether credentials work, and that changes nothing.

    `setting` names them in the adapter's settings, and `account` the business's account. With a
    service account instead of a request, the probe asks for a token.
    """

    setting: str
    account: str | None = None
    request: Request | ServiceAccount


@runtime_checkable
class Probing(Protocol):
    """A sender that can ask its provider whether the credentials work."""

    def probes(self) -> Sequence[Probe]:
        """Return one probe for each of the credentials."""
        ...

    def judge(self, response: Response, /) -> Outcome:
        """Say whether the response to a probe shows credentials that work; never raises."""
        ...


class Control(StrEnum):
    """What a responder does with a conversation that several share."""

    TAKE = "take"
    PASS = "pass"  # noqa: S105 - an action, no password
    RELEASE = "release"


@runtime_checkable
class Controlling(Protocol):
    """A sender whose provider lets responders take conversations and hand them on."""

    def control(
        self, message: Message, action: Control, /, *, to: str | None, metadata: str | None
    ) -> Request:
        """Return the request that does it to a message's conversation.

        `to` is the provider's word for whom it is passed to, by default its own choice, and
        `metadata` what that one is told. Raises `Unsendable`, and nothing else.
        """
        ...

    def controlled(self, response: Response, /) -> Outcome:
        """Say what the response to that request means; never raises."""
        ...


# --- for those who write a sender ----------------------------------------------------------


def json_body(value: JsonValue, limit: int | None = None) -> bytes:
    """Write a request's body. Raises `Unsendable` where it is no JSON or has too many bytes."""
    try:
        body = orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError) as error:
        # A lone surrogate, a number beyond 64 bits, or what is no JSON at all in a `Native`.
        raise Unsendable(f"the message does not fit into JSON: {error}") from None
    if limit is not None and len(body) > limit:
        raise Unsendable(f"the message is {len(body)} bytes of JSON, and {limit} are possible")
    return body


def check_base_url(_instance: object, _attribute: object, value: str) -> None:
    """Validate a setting to which the paths of requests are appended.

    Raises `ConfigurationError`, and quotes nothing: the value may hold credentials.
    """
    try:
        url = urlsplit(value)
        is_whole = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
        (url.hostname or "").encode("idna")  # a label may be empty, or too long
    except ValueError:
        is_whole = False
    if not is_whole or not {*"?#@ "}.isdisjoint(value) or not value.isprintable():
        raise ConfigurationError(
            'expected an address such as "https://api.example.com/v1", without ?, # and @'
        )


def retry_after(response: Response) -> float | None:
    """Return how many seconds a response asks to wait, at most a day.

    A date is compared with the response's own `Date`, so that no clock of ours is needed.
    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    headers = {name.lower(): value for name, value in response.headers.items()}
    wanted = headers.get("retry-after", "").strip()
    if wanted.isascii() and wanted.isdigit():
        return bounded_pause(float(wanted[:20]))
    try:
        then = email.utils.parsedate_to_datetime(wanted)
        now = email.utils.parsedate_to_datetime(headers.get("date", ""))
        return bounded_pause((then - now).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or only one of them has a zone
        return None


def bounded_pause(seconds: float) -> float | None:
    """Return a pause that somebody else asked for, at most a day; None for what is none."""
    return min(max(seconds, 0.0), _LONGEST_PAUSE) if math.isfinite(seconds) else None


def refused_by_status(response: Response, reason: str) -> Refused:
    """Conclude from the HTTP status alone, where a body says nothing that is documented.

    `reason` says what the body is. A gateway's answer, an empty one or a success without its
    body leave it open whether the message was accepted; a redirect is never followed.
    https://www.rfc-editor.org/rfc/rfc9110#name-status-codes
    """
    status = response.status
    in_doubt = False
    match status:
        case 429:
            remedy = Remedy.SLOW_ACCOUNT
        case 401 | 403:
            remedy = Remedy.STOP_ACCOUNT
        case _ if status in _NOT_FOUND:
            # Without the provider's own error it is not the provider who answered.
            remedy = Remedy.STOP_ACCOUNT
        case 408 | 425 | 503:
            remedy = Remedy.AGAIN
        case _ if 400 <= status < 500:  # noqa: PLR2004 - the client's fault, by the RFC
            remedy = Remedy.MEND_MESSAGE
        case _:
            remedy = Remedy.AGAIN
            in_doubt = not 300 <= status < 400  # noqa: PLR2004 - a redirect accepts nothing
    return Refused(
        error=ProviderError(code=str(status), title=f"HTTP {status} with {reason}"),
        remedy=remedy,
        retry_after=retry_after(response),
        in_doubt=in_doubt,
    )


def refused_otherwise(error: ProviderError, response: Response) -> Refused:
    """Conclude from a provider's own error that is not documented, by the HTTP status beside it.

    Since the provider itself refused, a success with an error in it is no doubt, and "not found"
    is not said of the address: only this message has failed. An error that says nothing is none.
    """
    told = refused_by_status(response, "an error that is not documented")
    if error.code is None and error.title is None:
        return told
    is_only_this = response.status < 300 or response.status in _NOT_FOUND  # noqa: PLR2004
    remedy = Remedy.REFUSED if is_only_this else told.remedy
    in_doubt = told.in_doubt and remedy is not Remedy.REFUSED
    return attrs.evolve(told, error=error, remedy=remedy, in_doubt=in_doubt)
