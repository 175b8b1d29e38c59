"""Who gets in at the INCS adapter, and what its settings and samples promise."""

from __future__ import annotations

import orjson
import pytest

from bridge.adapter import Adapter, Callback, SampleSource, Verified
from bridge.adapter.signing import Secret
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.errors import ConfigurationError, NotAuthentic
from tests.adapters import cases
from tests.adapters.cases import RECEIVED_AT

BODY = b'{"event": "message_status_updated", "message_id": 1, "message_status": 1}'


@pytest.fixture
def incs() -> Incs:
    return Incs("incs", IncsSettings(tokens=(Secret("old-token"), Secret("new-token"))))


def callback(tail: str = "", headers=()) -> Callback:
    return Callback(body=BODY, received_at=RECEIVED_AT, tail=tail, headers=headers)


def parse(incs: Incs, body):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return incs.parse(Verified(payload=raw, received_at=RECEIVED_AT))


def test_it_is_an_adapter_with_samples(incs):
    """The class keeps the contract that the bridge asks of it."""
    assert isinstance(incs, Adapter)
    assert isinstance(incs, SampleSource)
    assert incs.methods == {"POST"}


@pytest.mark.parametrize(
    "request_",
    [
        callback("old-token"),
        callback("new-token"),
        callback(headers={"x-incs-token": "new-token"}),
        callback("wrong", headers={"X-Incs-Token": "new-token"}),
    ],
)
def test_a_token_opens_in_path_or_header(incs, request_):
    """Any of the tokens opens, at the end of the path or in the header."""
    verified = incs.verify(request_)

    assert verified.payload == BODY
    assert verified.received_at == RECEIVED_AT


@pytest.mark.parametrize(
    "request_",
    [
        callback(),
        callback("old-toke"),
        callback("old-token/more"),
        callback("OLD-TOKEN"),
        callback("ü"),
        callback(headers={"X-Incs-Token": ""}),
        callback(headers={"X-Incs-Token": "wrong"}),
        callback(headers={"X-Other": "old-token"}),
        callback(headers=[("X-Incs-Token", "old-token"), ("X-Incs-Token", "old-token")]),
    ],
)
def test_anything_else_is_refused(incs, request_):
    """A missing, wrong, partial or repeated token is not authentic, and the refusal is silent."""
    with pytest.raises(NotAuthentic) as caught:
        incs.verify(request_)

    assert "token" not in str(caught.value).replace("no token matches", "")


def test_the_header_can_be_named():
    """The header that a proxy adds is a setting."""
    incs = Incs("incs", IncsSettings(tokens=(Secret("t"),), token_header="X-Proxy"))

    assert incs.verify(callback(headers={"X-Proxy": "t"})).payload == BODY
    with pytest.raises(NotAuthentic):
        incs.verify(callback(headers={"X-Incs-Token": "t"}))


def test_insecure_needs_no_token_but_checks_one():
    """An insecure adapter without tokens lets everybody in; with tokens it checks them."""
    assert Incs("incs", IncsSettings(insecure=True)).verify(callback()).payload == BODY
    with pytest.raises(NotAuthentic):
        Incs("incs", IncsSettings(insecure=True, tokens=(Secret("t"),))).verify(callback())


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({}, ["tokens"]),
        ({"tokens": (Secret(""),)}, ["tokens"]),
        (
            {
                "channels": (Channel(id=1, kind="rcs"), Channel(id=1, kind="viber")),
            },
            ["tokens", "channels[1].id"],
        ),
        (
            {
                "insecure": True,
                "channels": (
                    Channel(id=1, kind="whatsapp", business_phone="6281519236680"),
                    Channel(id=2, kind="whatsapp", business_phone="+62 815-1923-6680"),
                    Channel(id=3, kind="viber", business_phone="6281519236680"),
                    Channel(id=4, kind="viber", business_phone="office"),
                ),
            },
            ["channels[1].business_phone", "channels[3].business_phone"],
        ),
        (
            {
                "insecure": True,
                "channels": (
                    Channel(id=1, kind="rcs", agent_id="shop"),
                    Channel(id=2, kind="rcs", agent_id="shop"),
                ),
            },
            ["channels[1].agent_id"],
        ),
    ],
)
def test_wrong_settings_are_told_all_at_once(settings, keys):
    """An open door and channels that contradict each other are named together."""
    with pytest.raises(ConfigurationError) as caught:
        IncsSettings(**settings)

    assert [problem.key for problem in caught.value.problems] == keys


def test_settings_do_not_show_tokens():
    """A token never appears in the settings' representation."""
    assert "hush" not in repr(IncsSettings(tokens=(Secret("hush"),)))


def test_one_phone_may_serve_two_kinds_of_channel():
    """The kind of message decides which of two channels with one phone it belongs to."""
    incs = Incs(
        "incs",
        IncsSettings(
            insecure=True,
            channels=(
                Channel(id=1, kind="viber", business_phone="6281519236680"),
                Channel(id=2, kind="whatsapp", business_phone="6281519236680"),
            ),
        ),
    )
    status = {"event": "message_status_update", "business_phone": "6281519236680"}

    (whatsapp,) = parse(incs, {**status, "message_id": "wamid.A", "message_status": "read"}).events
    (unclear,) = parse(incs, {**status, "message_id": "17", "message_status": "read"}).events

    assert (whatsapp.channel, whatsapp.account) == ("whatsapp", "2")
    assert (unclear.channel, unclear.account) == ("incs", "+6281519236680")


def test_a_body_that_is_not_json_is_malformed(incs):
    """The documentation's trailing comma publishes nothing and says where it breaks."""
    parsed = parse(incs, b'{\n  "event": "new_message"\n},\n')

    assert parsed.events == ()
    assert parsed.malformed is not None
    assert parsed.malformed.line == 3


def test_a_body_that_nests_too_deep_is_kept_as_text(incs):
    """A body too deep for our own JSON becomes one event that holds its text."""
    text = '{"event": ' + "[" * 300 + "]" * 300 + "}"

    (event,) = parse(incs, text.encode()).events

    assert event.kind == "unrecognized"
    assert event.raw == text


# --- samples -----------------------------------------------------------------------------


def test_the_samples_are_those_of_the_documentation(incs):
    """The first 31 samples are the documentation's, in its order: the cases that are numbered."""
    numbered = sorted(
        folder.name for folder in (cases.DATA / "incs").iterdir() if folder.name[:2].isdigit()
    )
    assert len(numbered) == 31
    assert [sample.name for sample in incs.samples()[:31]] == [name[3:] for name in numbered]
    assert all(sample.title for sample in incs.samples())


def test_every_fresh_sample_passes_its_own_adapter(incs):
    """A sample, made fresh and given our token, gets in and is readable."""
    for sample in incs.samples():
        outgoing = incs.authenticate(orjson.dumps(incs.freshen(sample.body, "n", RECEIVED_AT)))
        verified = incs.verify(
            Callback(
                body=outgoing.body,
                received_at=RECEIVED_AT,
                tail=outgoing.tail,
                headers=outgoing.headers,
            )
        )
        kinds = [event.kind for event in incs.parse(verified).events]
        assert kinds, sample.name
        assert "unrecognized" not in kinds, sample.name


def fresh_keys(incs: Incs, nonce: str) -> list[str]:
    return [
        event.key
        for sample in incs.samples()
        for event in parse(incs, incs.freshen(sample.body, nonce, RECEIVED_AT)).events
    ]


def test_samples_are_new_in_each_run(incs):
    """One nonce gives one set of keys, another nonce gives quite others."""
    first = fresh_keys(incs, "a")

    assert first == fresh_keys(incs, "a")
    assert set(first).isdisjoint(fresh_keys(incs, "b"))


def test_no_two_samples_are_taken_for_one_message(incs):
    """Ids that the documentation gives to several messages become several ids."""
    keys = fresh_keys(incs, "a")

    assert len(set(keys)) == len(keys)


def freshened(incs: Incs, name: str):
    (sample,) = (sample for sample in incs.samples() if sample.name == name)
    return sample.body, incs.freshen(sample.body, "a", RECEIVED_AT)


def test_what_belongs_together_stays_together(incs):
    """The button's answer and the status still name the same message of ours."""
    _, button = freshened(incs, "incs-button")
    _, status = freshened(incs, "status-read")

    assert button["message"]["custom_id"] == status["message_id"] != 260400000084


def test_fresh_ids_keep_their_shape(incs):
    """A wamid stays a wamid, a UUID a UUID, an INCS number a number of the same month."""
    old, text = freshened(incs, "whatsapp-quoted-reply")
    item, was = text["message"]["messages"][0], old["message"]["messages"][0]
    assert item["id"].startswith("wamid.")
    assert item["id"] != was["id"]
    assert item["context"]["id"].startswith("wamid.")
    assert item["context"]["id"] != was["context"]["id"]
    assert item["timestamp"] == "1793534400"
    assert {**item, "id": 0, "context": 0, "timestamp": 0} == {
        **was,
        "id": 0,
        "context": 0,
        "timestamp": 0,
    }
    _, status = freshened(incs, "status-read")
    assert isinstance(status["message_id"], int)
    assert str(status["message_id"]).startswith("2604")
    assert len(str(status["message_id"])) == 12
    assert status["updated_at"] == "2026-11-01T12:00:00.000000Z"
    _, template = freshened(incs, "template-status")
    assert template["template_id"].startswith("12873803")
    assert len(template["template_id"]) == 16
    assert template["received_at"] == 1793534400
    _, rcs = freshened(incs, "rcs-action")
    assert [len(part) for part in rcs["message"]["messageId"].split("-")] == [8, 4, 4, 4, 12]
    _, file = freshened(incs, "incs-file")
    assert file["message"]["channel_msg_id"] == ""


def test_a_sample_is_not_changed_in_place(incs):
    """Making a sample fresh leaves the sample itself as it was."""
    for sample in incs.samples():
        before = orjson.dumps(sample.body)
        incs.freshen(sample.body, "a", RECEIVED_AT)
        assert orjson.dumps(sample.body) == before


@pytest.mark.parametrize(
    "body",
    [
        [1],
        {"message_id": None},
        {"message": {"messages": [7]}},
        {"event": "new_message", "message": {"messages": [{"context": {}}]}},
    ],
)
def test_what_is_no_id_stays_as_it_is(incs, body):
    """A body without ids, or with something else in their place, is left alone."""
    assert incs.freshen(body, "a", RECEIVED_AT) == body


def test_an_insecure_adapter_addresses_without_a_token():
    """Without tokens there is nothing to add to the address."""
    assert Incs("incs", IncsSettings(insecure=True)).authenticate(b"{}").tail == ""
