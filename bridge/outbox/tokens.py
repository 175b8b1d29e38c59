"""Bearer tokens for service accounts: signed off the loop, fetched once, kept until they expire.

https://www.rfc-editor.org/rfc/rfc7523
https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, final
from urllib.parse import urlencode

import orjson

from bridge.adapter import Request, Response, ServiceAccount
from bridge.adapter.body import read_object
from bridge.adapter.payload import filled, number
from bridge.errors import ConfigurationError, MalformedBody, Problem, Unanswered
from bridge.process.threads import in_thread

_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME: Final = 3600.0
_MARGIN: Final = 60.0
_SUCCESS: Final = 200
_REFUSED: Final = (400, 401, 403)


@final
class Tokens:
    """Gets and keeps tokens; several who want the same one wait for one request."""

    def __init__(
        self,
        exchange: Callable[[Request], Awaitable[Response]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._known: dict[ServiceAccount, tuple[str, float]] = {}
        self._locks: dict[ServiceAccount, asyncio.Lock] = {}

    async def token(self, account: ServiceAccount) -> str:
        """Return a token that is good for another minute at least.

        Raises `ConfigurationError` where the key is none or is refused, and `Unanswered` where
        there is no answer.
        """
        async with self._locks.setdefault(account, asyncio.Lock()):
            token, expires = self._known.get(account, ("", 0.0))
            if self._clock() >= expires - _MARGIN:
                token, lifetime = await self._fetch(account)
                self._known[account] = token, self._clock() + lifetime
            return token

    def forget(self, account: ServiceAccount, token: str) -> None:
        """Use a token no more, unless another one has taken its place already."""
        if self._known.get(account, ("", 0.0))[0] == token:
            del self._known[account]

    async def _fetch(self, account: ServiceAccount) -> tuple[str, float]:
        url, assertion = await in_thread(_assertion, account, self._clock())
        body = urlencode({"grant_type": _GRANT, "assertion": assertion}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            response = await self._exchange(Request(url=url, headers=headers, body=body))
        except Unanswered as error:
            # A doubt about the token is none about the message.
            raise Unanswered(f"no token: {error.reason}", in_doubt=False) from error
        try:
            told = read_object(response.body)
        except MalformedBody:
            told = {}
        if response.status in _REFUSED:
            reason = filled(told.get("error")) or f"HTTP {response.status}"
            raise _unusable(f"refused where tokens are issued: {reason}")
        token = filled(told.get("access_token"))
        if response.status != _SUCCESS or token is None:
            raise Unanswered(f"no token: HTTP {response.status}", in_doubt=False)
        return token, number(told.get("expires_in")) or _LIFETIME


def _assertion(account: ServiceAccount, now: float) -> tuple[str, str]:
    """Return where the account's tokens are issued, and the signed claim to one."""
    try:
        from google.auth import crypt, jwt  # noqa: PLC0415 - an extra of its own
    except ModuleNotFoundError as error:
        raise _unusable("needs the extra: pip install incs-bridge[service-account]") from error
    try:
        key = orjson.loads(account.key.reveal())
        signer = crypt.RSASigner.from_service_account_info(key)  # type: ignore[no-untyped-call]
        claims = {
            "iss": key["client_email"],
            "scope": account.scope,
            "aud": key["token_uri"],
            "iat": int(now),
            "exp": int(now + _LIFETIME),
        }
        return key["token_uri"], jwt.encode(signer, claims).decode()  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 - whatever the library makes of a key that is none
        # Without the cause: its text may quote the key.
        raise _unusable("not the key of a service account") from None


def _unusable(reason: str) -> ConfigurationError:
    return ConfigurationError((Problem(key="service_account", message=reason),))
