"""Tokens for service accounts: asked for in time, and with a claim that can be verified."""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from google.auth import crypt

from bridge.adapter import Request, Response, ServiceAccount
from bridge.adapter.signing import Secret
from bridge.outbox.tokens import Tokens
from tests.bridge.outbox.keys import private_key, service_account

URI = "https://oauth2.googleapis.com/token"
ACCOUNT = ServiceAccount(key=Secret(service_account(URI)), scope="a-scope")
OTHER = ServiceAccount(key=Secret(service_account(URI)), scope="another-scope")


class Issuer:
    """Issues numbered tokens that last an hour."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.asked: list[Request] = []

    async def exchange(self, request: Request) -> Response:
        self.asked.append(request)
        token = {"access_token": f"token-{len(self.asked)}", "expires_in": 3600}
        return Response(body=json.dumps(token).encode())


async def test_the_claim_is_signed_as_the_standard_says():
    """The assertion names the account, the scope, the audience and an hour, signed by its key.

    https://developers.google.com/identity/protocols/oauth2/service-account#httprest
    """
    issuer = Issuer()
    tokens = Tokens(issuer.exchange, lambda: issuer.now)
    assert await tokens.token(ACCOUNT) == "token-1"
    (request,) = issuer.asked
    assert request.url == URI
    form = parse_qs(request.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    (assertion,) = form["assertion"]
    public = (
        private_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head, body, signature = assertion.split(".")
    assert crypt.verify_signature(f"{head}.{body}", _decoded(signature), public)
    assert json.loads(_decoded(head))["alg"] == "RS256"
    assert json.loads(_decoded(body)) == {
        "iss": "agent@project.iam.gserviceaccount.com",
        "scope": "a-scope",
        "aud": URI,
        "iat": 1_790_000_000,
        "exp": 1_790_003_600,
    }


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_a_token_is_kept_until_a_minute_before_its_end():
    """A token that might expire on the way is replaced before."""
    issuer = Issuer()
    tokens = Tokens(issuer.exchange, lambda: issuer.now)
    assert await tokens.token(ACCOUNT) == "token-1"
    issuer.now += 3539
    assert await tokens.token(ACCOUNT) == "token-1"
    issuer.now += 1
    assert await tokens.token(ACCOUNT) == "token-2"


async def test_each_account_has_its_own_token():
    """Another scope is another token."""
    issuer = Issuer()
    tokens = Tokens(issuer.exchange, lambda: issuer.now)
    assert [await tokens.token(one) for one in (ACCOUNT, OTHER, ACCOUNT)] == [
        "token-1",
        "token-2",
        "token-1",
    ]


async def test_a_token_that_was_replaced_already_is_not_forgotten():
    """Of two who were refused with the same token, only the first has a new one fetched."""
    issuer = Issuer()
    tokens = Tokens(issuer.exchange, lambda: issuer.now)
    old = await tokens.token(ACCOUNT)
    tokens.forget(ACCOUNT, old)
    new = await tokens.token(ACCOUNT)
    tokens.forget(ACCOUNT, old)
    assert await tokens.token(ACCOUNT) == new == "token-2"
