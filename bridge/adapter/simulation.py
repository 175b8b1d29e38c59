"""What a simulated provider is: its sending side as documented, and a user to write with.

The behaviour of a provider is its adapter's business, pure and with the time as an argument;
`bridge.testing.providers` gives it a socket and delivers its callbacks.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Protocol, TypeAlias, final, runtime_checkable
from urllib.parse import quote, urljoin

import attrs
import orjson

from bridge.adapter.contract import Response, SignedRequest
from bridge.adapter.media import MediaSource
from bridge.adapter.sending import Request, Sender
from bridge.model import Choice, JsonValue, Location, Media, Text

_BOUNDARY: Final = re.compile(r'boundary="?([^";]{1,70})')
_FIELD: Final = re.compile(rb'[; ]name="([^"]{1,70})"')
_MAX_LINK: Final = 2048


@final
@attrs.frozen(kw_only=True)
class SimulatedCallback:
    """A callback's body as the provider would send it, `after` so many seconds."""

    body: JsonValue
    after: float = 0.0


@final
@attrs.frozen(kw_only=True)
class SimulatedAnswer:
    """What a request is answered, and the callbacks that follow."""

    response: Response
    callbacks: tuple[SimulatedCallback, ...] = ()


@final
@attrs.frozen(kw_only=True)
class Arrived:
    """A message that reached a user: once for each time that it did.

    `correlation` is our own id, where the request told one.
    """

    message_id: str
    user: str
    correlation: str | None
    body: JsonValue


Said: TypeAlias = Text | Choice | Media | Location
"""What a simulated user may say."""


class Objection(Exception):
    """A request is not as documented, or cannot be taken now; `code` is the provider's own."""

    def __init__(self, code: str, details: str) -> None:
        self.code = code
        self.details = details
        super().__init__(details)


@final
@attrs.define(kw_only=True)
class Rules:
    """How a simulated provider behaves beyond checking requests; change it at any time.

    `rate` is how many messages a second an account may send, `pair_every` after how many seconds
    there may be another one to the same user, with `pair_burst` ahead; None is no limit. `window`
    is for how many seconds a free-form message may follow one of the user's; None is for ever.
    `errors` are the provider's own codes, one for each of the next requests. `known_as` says, in
    digits alone, under which number a user is known who is written to by another one.
    """

    rate: float | None = None
    pair_every: float | None = None
    pair_burst: int = 1
    window: float | None = None
    unreachable: set[str] = attrs.field(factory=set)
    opted_out: set[str] = attrs.field(factory=set)
    templates: set[str] | None = None
    errors: deque[str] = attrs.field(factory=deque)
    known_as: dict[str, str] = attrs.field(factory=dict)
    statuses: tuple[str, ...] = ("sent", "delivered", "read")
    status_every: float = 0.0
    _full_at: dict[str, float] = attrs.field(factory=dict, init=False)
    _wrote: dict[str, datetime] = attrs.field(factory=dict, init=False)

    def check_errors(self) -> None:
        """Raise the next of `errors`, if there is one."""
        if self.errors:
            raise Objection(self.errors.popleft(), "as the test asked for")

    def check_rate(self, account: str, now: datetime, objection: Objection) -> None:
        """Count a message of an account. Raises the objection where there are too many."""
        if self.rate is not None:
            self._take(account, now, 1 / self.rate, self.rate, objection)

    def check_pair(self, account: str, user: str, now: datetime, objection: Objection) -> None:
        """Count a message to a user. Raises the objection where there are too many."""
        if self.pair_every is not None:
            pair = f"{account}/{user}"
            self._take(pair, now, self.pair_every, self.pair_burst, objection)

    def _take(
        self, bucket: str, now: datetime, every: float, burst: float, objection: Objection
    ) -> None:
        """Take a token of a bucket that gives `burst` at once, and then one `every` seconds."""
        seconds = now.timestamp()
        full_at = max(self._full_at.get(bucket, seconds), seconds) + every
        if full_at - seconds > every * burst + 1e-9:
            raise objection
        self._full_at[bucket] = full_at

    def open_window(self, user: str, now: datetime) -> None:
        """Note that a user writes now."""
        self._wrote[user] = now

    def is_open(self, user: str, now: datetime) -> bool:
        """Return whether a free-form message may go to a user."""
        wrote = self._wrote.get(user)
        return self.window is None or (
            wrote is not None and (now - wrote).total_seconds() < self.window
        )

    def takes_template(self, name: JsonValue) -> bool:
        """Return whether there is a template of this name."""
        return self.templates is None or name in self.templates

    def cannot_reach(self, user: str) -> bool:
        """Return whether a user, by their phone with or without a plus, is unreachable."""
        return bool({user, f"+{user}"} & self.unreachable)

    def has_opted_out(self, user: str) -> bool:
        """Return whether a user, by their phone with or without a plus, opted out."""
        return bool({user, f"+{user}"} & self.opted_out)


def form_fields(request: Request) -> dict[str, bytes]:
    """Return the fields of a form, files among them; nothing where it is no form.

    https://www.rfc-editor.org/rfc/rfc7578
    """
    kind = request.headers.get("Content-Type", "")
    boundary = _BOUNDARY.search(kind)
    if boundary is None or not kind.lower().startswith("multipart/form-data"):
        return {}
    fields = {}
    for part in request.body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = _FIELD.search(head)
        if name is not None:
            fields[name[1].decode()] = value.removesuffix(b"\r\n")
    return fields


@final
class Files(dict[str, bytes]):
    """The files that a provider keeps, by their ids: of 64 MiB in all, the oldest make room."""

    MOST: Final = 64 * 1024 * 1024

    def __setitem__(self, file: str, content: bytes) -> None:
        """Keep a file."""
        super().__setitem__(file, content)
        while len(self) > 1 and sum(map(len, self.values())) > self.MOST:
            del self[next(iter(self))]

    @staticmethod
    def link(url: str, file: str) -> str:
        """Return where a provider at a URL, or at that of a request to it, gives a file out."""
        return urljoin(url, f"/files/{quote(file)}")


class Simulation(Protocol):
    """One provider's sending side: what it answers, and what it then reports."""

    @property
    def rules(self) -> Rules:
        """How it behaves."""
        ...

    @property
    def arrived(self) -> list[Arrived]:
        """Every message that reached a user, in order."""
        ...

    @property
    def files(self) -> Files:
        """The files that users sent, and those that were uploaded."""
        ...

    def answer(self, request: Request, now: datetime) -> SimulatedAnswer:
        """Answer a request as the provider is documented to. Raises `Objection`."""
        ...

    def refusal(self, objection: Objection) -> Response:
        """Return the response to a request that met an objection."""
        ...

    @property
    def trouble(self) -> Objection:
        """What the provider says where it fails itself."""
        ...

    @property
    def user_id(self) -> str | None:
        """An id of somebody who hides their phone, where the provider has such."""
        ...

    def say(
        self, user: str, content: Said, now: datetime, *, account: str | None = None
    ) -> JsonValue:
        """Return the callback of a user, by their phone or id, who says or picks something.

        `account` is whom they write to; by default the last that sent, or the first. A file that
        is there to be fetched has a `url`, where the provider keeps it.
        """
        ...


@final
@attrs.frozen
class Rehearsal:
    """What sends to a simulated provider instead of the real one, and the provider.

    `files` asks it where a file is, where the provider gives files out by their ids.
    """

    sender: Sender
    simulation: Simulation
    files: MediaSource | None = None


@runtime_checkable
class SimulationSource(Protocol):
    """An adapter whose provider can be simulated with the adapter's own settings."""

    def simulation(self) -> Simulation:
        """Return the provider at rest; it takes this adapter's credentials and no others."""
        ...

    def rehearsal(self, url: str, *, first: int) -> Rehearsal:
        """Return what sends to a simulated provider at `url`, with made-up credentials.

        Where the settings name no account, there is a made-up one. Messages are counted from
        `first`, so that their ids are not those of an earlier rehearsal.
        """
        ...

    def authenticate(self, body: bytes) -> SignedRequest:
        """Prove a callback as the provider would."""
        ...


def answered(simulation: Simulation, request: Request, now: datetime) -> SimulatedAnswer:
    """Return what a simulated provider answers; never raises."""
    try:
        return simulation.answer(request, now)
    except Objection as objection:
        return SimulatedAnswer(response=simulation.refusal(objection))


# --- for those who write a simulation ------------------------------------------------------------


def json_response(value: JsonValue, status: int = 200) -> Response:
    """Return a response of JSON."""
    return Response(
        status=status, body=orjson.dumps(value), content_type="application/json; charset=UTF-8"
    )


@final
@attrs.frozen
class Checker:
    """Checks a request's parts; what is wrong raises `Objection` with this code."""

    code: str

    def that(self, condition: object, details: str) -> None:
        """Object unless the condition holds."""
        if not condition:
            raise Objection(self.code, details)

    def body(self, request: Request) -> dict[str, JsonValue]:
        """Return the JSON object that a request holds."""
        try:
            value = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            value = None
        if type(value) is not dict:
            raise Objection(self.code, "the body is not a JSON object")
        return value

    def object(self, parent: JsonValue, name: str) -> dict[str, JsonValue]:
        """Return the object under a name."""
        value = parent.get(name) if type(parent) is dict else None
        if type(value) is not dict:
            raise Objection(self.code, f"{name} must be an object")
        return value

    def items(
        self, parent: JsonValue, name: str, most: int, least: int = 1
    ) -> list[dict[str, JsonValue]]:
        """Return the objects of an array, of which there are so many."""
        value = parent.get(name) if type(parent) is dict else None
        if type(value) is not list or not least <= len(value) <= most:
            raise Objection(self.code, f"{name} must have {least} to {most} items")
        objects = [item for item in value if type(item) is dict]
        self.that(len(objects) == len(value), f"{name} must hold objects")
        return objects

    def words(self, parent: JsonValue, name: str, most: int, *, needed: bool = True) -> str | None:
        """Return the string under a name, which is neither blank nor too long."""
        value = parent.get(name) if type(parent) is dict else None
        if value is None and not needed:
            return None
        if type(value) is not str or not value.strip() or len(value) > most:
            raise Objection(self.code, f"{name} must be a string of 1 to {most} characters")
        return value

    def link(self, parent: JsonValue, name: str) -> None:
        """Object to what is no link under a name."""
        url = self.words(parent, name, _MAX_LINK) or ""
        self.that(url.startswith(("http://", "https://")), name)

    def only(self, parent: dict[str, JsonValue], names: Iterable[str]) -> None:
        """Object to fields of any other name."""
        others = sorted(set(parent) - set(names))
        self.that(not others, f"unknown fields {', '.join(others)}")
