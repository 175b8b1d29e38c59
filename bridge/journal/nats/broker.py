"""The connection to the servers: requests to JetStream, and how they can fail.

This is the only module that uses nats-py. It has no calls for atomic batches, for reading several
subjects at once and for pulling in a priority group, so their requests are made here.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bridge.errors import JournalError
from bridge.journal.nats.messages import (
    Away,
    Conflict,
    CutOff,
    Draft,
    Headers,
    NoStream,
    Refused,
    Stored,
    Unfit,
)
from bridge.journal.nats.settings import NatsSettings

_LOG: Final = logging.getLogger("bridge.journal")

_PING_EVERY: Final = 5  # seconds; a server that is gone without a word is noticed after two
_RECONNECT_EVERY: Final = 1
_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503
_NO_MESSAGE: Final = 10037
_NO_STREAM: Final = 10059
_WRONG_LAST_SEQUENCE: Final = frozenset((10071, 10164))
_STATUS: Final = "Status"
_ACKNOWLEDGED: Final = "$JS.ACK."
_DENIED: Final = "permissions violation"

Fields: TypeAlias = dict[str, Any]


class Repeated:
    """Logs an error that comes again and again once, until `over`."""

    def __init__(self, level: int, message: str) -> None:
        self._level = level
        self._message = message
        self._last = ""

    def log(self, error: JournalError) -> None:
        """Log an error unless it is the last one again."""
        if str(error) != self._last:
            self._last = str(error)
            _LOG.log(self._level, self._message, error)

    def over(self) -> None:
        """Log the next error in any case."""
        self._last = ""


class Broker:
    """A connection that comes back by itself; every call raises `Away` while it is gone."""

    def __init__(self, settings: NatsSettings) -> None:
        self.servers = settings.servers
        self._credentials = settings.credentials
        self._timeout = settings.timeout
        self._client = Client()
        self._closing = False
        self._closed = asyncio.Event()
        self._closed.set()
        self._connected = asyncio.Event()
        self.clients = 0  # counts those that there have been, each with subscriptions of its own
        self.connection = 0  # counts those that there have been
        self._fault: Exception | None = None  # the client goes on trying, and raises a time-out
        self._denied = ("", -math.inf)  # the last thing that this client may not do, and when
        self._changed: Callable[[], None] = lambda: None

    # --- the connection ------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether a server is there."""
        return self._connected.is_set()

    @property
    def max_payload(self) -> int:
        """How large a message the server takes."""
        return self._client.max_payload

    @property
    def version(self) -> tuple[int, int]:
        """Return the server's version."""
        found = self._client.connected_server_version
        return found.major, found.minor

    async def connect(self) -> None:
        """Connect to one of the servers, anew where a server closed the last connection.

        Raises `Away` where none answers in time.
        """
        if not self._closed.is_set():
            return
        client = self._client = Client()
        try:
            async with asyncio.timeout(self._timeout):
                await client.connect(
                    servers=list(self.servers),
                    name="incs-bridge",
                    user_credentials=None if self._credentials is None else str(self._credentials),
                    connect_timeout=max(1, int(self._timeout)),
                    ping_interval=_PING_EVERY,
                    reconnect_time_wait=_RECONNECT_EVERY,
                    max_reconnect_attempts=-1,
                    error_cb=self._failed,
                    disconnected_cb=self._gone,
                    reconnected_cb=self._back,
                    closed_cb=self._ended,
                )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            await client.close()
            fault = _words(self._fault or error)
            raise Away(f"no NATS server answers as it should: {fault}") from error
        self._closed.clear()
        self.clients += 1
        await self._back()

    async def close(self) -> None:
        """Disconnect for good."""
        self._closing = True
        self._connected.clear()
        if self.connection:  # a client that was never connected cannot be closed
            # The client writes what is pending even where the connection is gone, which uvloop
            # answers with a RuntimeError.
            with contextlib.suppress(nats.errors.Error, OSError, RuntimeError):
                await self._client.close()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call this with every connection that is lost, or new and not yet used by anybody.

        And where nobody answers what JetStream should answer: a stream may be gone.
        """
        self._changed = changed

    async def until_closed(self) -> None:
        """Wait until there is no client that would come back by itself."""
        await self._closed.wait()

    async def until_connected(self) -> None:
        """Wait for a server to be there."""
        await self._connected.wait()

    async def _failed(self, error: Exception) -> None:
        self._fault = error
        if _DENIED in str(error).lower():
            self._denied = _words(error), time.monotonic()
        _LOG.debug("the connection to NATS: %s", type(error).__name__)

    async def _gone(self) -> None:
        if self._connected.is_set():
            self._connected.clear()
            self._changed()
            _LOG.warning("the connection to NATS is lost")

    async def _ended(self) -> None:
        if not (self._closing or self._closed.is_set()):
            await self._gone()
            self._closed.set()
            _LOG.error("a NATS server closed the connection for good: %s", self._last_words)

    @property
    def _last_words(self) -> str:
        error = self._client.last_error
        return "no reason told" if error is None else _words(error)

    async def _back(self) -> None:
        self.connection += 1
        self._changed()
        self._connected.set()
        if self.connection > 1:
            _LOG.warning("the connection to NATS is back")

    # --- asking ----------------------------------------------------------------------------

    async def request(self, subject: str, data: bytes, headers: Headers | None = None) -> Msg:
        """Ask, and return the answer."""
        with self._border():
            try:
                return await self._client.request(
                    subject,
                    data,
                    timeout=self._timeout,
                    headers=None if headers is None else dict(headers),
                )
            except nats.errors.NoRespondersError:
                if not subject.startswith(_ACKNOWLEDGED):  # a consumer may be another one by now
                    self._changed()
                raise

    async def send(
        self, subject: str, data: bytes, *, headers: Headers | None = None, reply: str = ""
    ) -> None:
        """Send something without waiting for an answer."""
        with self._border():
            await self._client.publish(
                subject, data, reply=reply, headers=None if headers is None else dict(headers)
            )

    async def listen(self, subject: str, heard: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Call `heard` with what is sent to a subject, one by one, until the client is closed."""
        with self._border():
            return await self._client.subscribe(subject, cb=heard)

    @contextlib.asynccontextmanager
    async def hearing(self, heard: Callable[[Msg], Awaitable[None]]) -> AsyncIterator[str]:
        """Call `heard` with what is sent to a new inbox, until the block ends; give its subject."""
        subscription = await self.listen(self._client.new_inbox(), heard)
        try:
            yield subscription.subject
        finally:
            with (
                contextlib.suppress(nats.errors.Error, OSError),  # gone with the connection
                _heeding_cancellation(),
            ):
                await subscription.unsubscribe()

    @contextlib.contextmanager
    def _border(self) -> Iterator[None]:
        """Turn nats-py's errors into ours, and let a cancelled task end."""
        if not self.connected:
            raise Away("no NATS server is connected")
        client = self._client
        try:
            with _heeding_cancellation():
                yield
        except nats.errors.MaxPayloadError as error:
            raise Unfit(
                f"a message is larger than the {self.max_payload} bytes that the server takes"
            ) from error
        except nats.errors.NoRespondersError as error:
            raise Away("JetStream does not answer: it is off, or has no leader now") from error
        except (nats.errors.Error, OSError, TimeoutError) as error:
            if client.is_closed and not self._closing:
                raise CutOff("a NATS server closed the connection for good") from error
            words, denied_at = self._denied
            if time.monotonic() - denied_at <= self._timeout + 1:  # and then nobody answers
                raise Away(f"the NATS user may not do it: {words}") from error
            raise Away(f"NATS does not answer: {type(error).__name__}") from error

    async def api(self, name: str, fields: Fields | None = None) -> Fields:
        """Call JetStream. Raises `Refused`, or `Away` where it has no leader now."""
        answer = await self.request(f"$JS.API.{name}", orjson.dumps(fields or {}))
        return _result(orjson.loads(answer.data))

    # --- writing -----------------------------------------------------------------------------

    async def write(self, draft: Draft) -> int:
        """Store one message and return its sequence. Raises `Unfit` where it is too large."""
        draft.check(self.max_payload)
        answer = await self.request(draft.subject, draft.data, draft.headers)
        return int(_result(orjson.loads(answer.data))["seq"])

    async def write_as_one(self, drafts: Sequence[Draft]) -> int:
        """Store all of these messages, one directly after the other, or none.

        Returns the sequence of the last one. Raises `Conflict` where one of them expected another
        last sequence of its subject.
        """
        batch = self._client._nuid.next().decode()  # noqa: SLF001 - as nats-py's own calls do
        last = len(drafts)
        for number, draft in enumerate(drafts, 1):
            headers = {
                **draft.headers,
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(number),
            }
            if number < last:
                await self.send(draft.subject, draft.data, headers=headers)
                continue
            headers["Nats-Batch-Commit"] = "1"
            answer = await self.request(draft.subject, draft.data, headers)
            return int(_result(orjson.loads(answer.data))["seq"])
        raise ValueError("nothing to write")

    async def delete(self, stream: str, sequence: int, *, overwrite: bool) -> bool:
        """Delete a message; return whether there was one.

        With `overwrite` the server also overwrites it in its file, which takes milliseconds.
        """
        wanted = {"seq": sequence, "no_erase": not overwrite}
        try:
            await self.api(f"STREAM.MSG.DELETE.{stream}", wanted)
        except Refused as error:
            if error.status in (_NOT_FOUND, 400, 500):  # servers have not agreed on one
                return False
            raise
        return True

    async def empty(self, stream: str, subject: str, *, before: int | None = None) -> None:
        """Erase what was written to the matching subjects: all of it, or before a sequence."""
        wanted: Fields = (
            {"filter": subject} if before is None else {"filter": subject, "seq": before}
        )
        await self.api(f"STREAM.PURGE.{stream}", wanted)

    # --- reading -----------------------------------------------------------------------------

    async def stored(self, stream: str, **wanted: Any) -> Stored | None:  # noqa: ANN401 - JSON
        """Return a message by `seq`, by `last_by_subj`, or the `next_by_subj` from a `seq` on.

        The stream's leader is asked, so that what has been acknowledged is seen.
        """
        try:
            found = (await self.api(f"STREAM.MSG.GET.{stream}", wanted))["message"]
        except Refused as error:
            if error.code == _NO_MESSAGE or error.not_found:
                return None
            raise
        return Stored(
            subject=found["subject"],
            sequence=found["seq"],
            data=base64.b64decode(found.get("data", "")),
        )

    async def last_of(self, stream: str, subjects: Sequence[str]) -> dict[str, Stored]:
        """Return the last message of each of these subjects that has one.

        Any replica may answer, also one that lags behind: write with `EXPECTED`.
        """
        return {found.subject: found for found in await self._many(stream, multi_last=subjects)}

    async def next_of(
        self, stream: str, subject: str, sequence: int, limit: int
    ) -> Sequence[Stored]:
        """Return messages of the matching subjects from a sequence on, as any replica has them."""
        return await self._many(stream, seq=sequence, next_by_subj=subject, batch=limit)

    async def next_since(self, stream: str, subject: str, when: str) -> Stored | None:
        """Return the first message of the matching subjects that was stored since a time."""
        found = await self._many(stream, start_time=when, next_by_subj=subject, batch=1)
        return found[0] if found else None

    async def _many(self, stream: str, **wanted: object) -> list[Stored]:
        found: list[Stored] = []
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def heard(message: Msg) -> None:
            headers = message.headers or {}
            if _STATUS not in headers:
                found.append(
                    Stored(
                        subject=headers["Nats-Subject"],
                        sequence=int(headers["Nats-Sequence"]),
                        data=message.data,
                    )
                )
            elif not done.done() and headers[_STATUS] == str(_UNAVAILABLE):
                done.set_exception(Away(f"nobody answers for the stream {stream}"))
            elif not done.done():
                done.set_result(None)

        async with self.hearing(heard) as inbox:
            await self.send(f"$JS.API.DIRECT.GET.{stream}", orjson.dumps(wanted), reply=inbox)
            try:
                async with asyncio.timeout(self._timeout):
                    await done
            except TimeoutError as error:
                raise Away("NATS does not answer: TimeoutError") from error
        return found


@contextlib.contextmanager
def _heeding_cancellation() -> Iterator[None]:
    """Raise the cancellation that nats-py swallows when a task is cancelled while it writes.

    Otherwise the task would go on, and whoever waits for its end would wait for ever.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    yield
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def status_of(message: Msg) -> str | None:
    """Return the status of a message that carries one instead of something stored."""
    return message.headers.get(_STATUS) if message.headers else None


def _result(answer: Fields) -> Fields:
    error = answer.get("error")
    if error is None:
        return answer
    status, code = error.get("code", 0), error.get("err_code", 0)
    description = error.get("description", "")
    if code in _WRONG_LAST_SEQUENCE:
        raise Conflict(f"written by another process meanwhile: {description}")
    if code == _NO_STREAM:
        raise NoStream("the stream is not there")
    if status == _UNAVAILABLE:
        raise Away(f"NATS is not available: {description}")
    raise Refused(status, code, description)


def _words(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else str(error).removeprefix("nats: ")
    return (said or type(error).__name__).strip("'")
