"""Bodies: what a load consists of is what Meta would send."""

from __future__ import annotations

import hashlib
import hmac
from itertools import islice

import orjson
import pytest

from benchmarks.bodies import WHATSAPP_TEXT, Batch, enveloped, request, signed, texts, write


def value(body: bytes):
    """Return what the only change in an update says."""
    (entry,) = orjson.loads(body)["entry"]
    (change,) = entry["changes"]
    return change["value"]


def without_names(body: bytes):
    """Return a body whose users and ids are those of the documentation's example."""
    update = orjson.loads(body)
    said = update["entry"][0]["changes"][0]["value"]
    example = WHATSAPP_TEXT["entry"][0]["changes"][0]["value"]
    for name in ("from", "from_user_id", "id"):
        said["messages"][0][name] = example["messages"][0][name]
    for name in ("wa_id", "user_id"):
        said["contacts"][0][name] = example["contacts"][0][name]
    return update


def test_a_body_is_the_documented_one():
    """Apart from who says it and its id, a body is the documentation's example."""
    assert without_names(next(texts())) == WHATSAPP_TEXT


def test_users_take_turns():
    """The first message is of user 0, the second of user 1, and so on, around and around."""
    said = [value(body) for body in islice(texts(users=2), 3)]
    assert [one["messages"][0]["from"] for one in said] == [
        "16500000000",
        "16500000001",
        "16500000000",
    ]
    assert said[1]["messages"][0]["from_user_id"] == "US.13491208655300000001"


def test_a_message_and_its_contact_are_of_one_user():
    """Each of several messages has its contact at the same place."""
    said = value(next(texts(items=3)))
    assert len(said["messages"]) == 3
    for message, card in zip(said["messages"], said["contacts"], strict=True):
        assert (message["from"], message["from_user_id"]) == (card["wa_id"], card["user_id"])
        assert card["profile"] == {"name": "Sheena Nelson"}


def test_no_id_comes_twice():
    """A repeated id would be no new event, and would be missed when events are counted."""
    ids = [
        message["id"] for body in islice(texts(items=7), 300) for message in value(body)["messages"]
    ]
    assert len(set(ids)) == 2100


@pytest.mark.parametrize("body", [b"", b"{}", next(texts())], ids=["empty", "short", "whole"])
def test_signatures(body):
    """A signature is what the documentation says, however often others were made before."""
    key = b"an-app-secret-for-the-benchmarks"
    assert signed(body) == "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()


def test_a_request():
    """A request is whole: its head tells the length and the signature of what follows."""
    head, body = request(b"{}", 8080).split(b"\r\n\r\n")
    assert body == b"{}"
    assert head.split(b"\r\n") == [
        b"POST /callbacks/whatsapp HTTP/1.1",
        b"Host: 127.0.0.1:8080",
        b"Content-Type: application/json",
        b"X-Hub-Signature-256: " + signed(b"{}").encode(),
        b"Content-Length: 2",
    ]


def test_requests_in_a_file(tmp_path):
    """Before each request stands its length in ten digits, as `load.lua` reads it."""
    path = tmp_path / "requests"
    write(Batch(requests=3, items=2, port=8080), path)
    with path.open("rb") as file:
        found = []
        while length := file.read(10):
            found.append(file.read(int(length)))
    assert len(found) == 3
    assert all(one.startswith(b"POST /callbacks/whatsapp ") for one in found)
    assert [len(value(one.split(b"\r\n\r\n")[1])["messages"]) for one in found] == [2, 2, 2]


def test_what_incs_wraps_becomes_an_update():
    """Around the value stands Meta's update, and everybody has the user id that pywa needs."""
    wrapped = {
        "messaging_product": "whatsapp",
        "contacts": [{"wa_id": "16505551234"}],
        "messages": [{"from": "16505551234", "type": "text"}],
    }
    assert orjson.loads(enveloped(wrapped)) == {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "102290129340398",
                "changes": [
                    {
                        "field": "messages",
                        "value": {
                            "messaging_product": "whatsapp",
                            "contacts": [
                                {
                                    "wa_id": "16505551234",
                                    "user_id": "US.13491208655302741918",
                                }
                            ],
                            "messages": [
                                {
                                    "from": "16505551234",
                                    "type": "text",
                                    "from_user_id": "US.13491208655302741918",
                                }
                            ],
                        },
                    }
                ],
            }
        ],
    }
