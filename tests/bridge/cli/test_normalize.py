"""`bridge normalize` turns bodies into lines of events, and says what it could not read."""

import signal

import orjson
import pytest

WHEN = "2026-01-31T12:00:00Z"
STATUS = {
    "event": "message_status_update",
    "channel_id": 30058,
    "business_phone": "6281519236680",
    "message_id": "wamid.A",
    "message_status": "failed",
    "error": {"code": 131049, "title": "not delivered"},
    "received_at": 1754466101,
}
# The event of it, by the documentation: 1754466101 is 2025-08-06 07:41:41 in UTC.
EVENT = {
    "kind": "status_change",
    "key": "status/whatsapp/wamid.A/failed",
    "source": "incs",
    "channel": "whatsapp",
    "account": "30058",
    "occurred_at": "2025-08-06T07:41:41Z",
    "received_at": WHEN,
    "raw": STATUS,
    "message_id": "wamid.A",
    "aliases": [],
    "status": "failed",
    "provider_status": "failed",
    "error": {"code": "131049", "title": "not delivered"},
    "resolved": True,
}
BODY = orjson.dumps(STATUS)


def another(message_id):
    return orjson.dumps(STATUS | {"message_id": message_id})


def ids(outcome):
    return [event["message_id"] for event in outcome.events]


def test_a_body_becomes_a_line_of_json(command, workplace):
    """A documented callback gives its event in our own JSON, with no configuration anywhere."""
    (workplace / "one.json").write_bytes(BODY)
    outcome = command("normalize", "incs", "one.json", "--received-at", WHEN)
    assert outcome.events == [EVENT]
    assert outcome.err == ""
    assert outcome.code == 0


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_without_a_file_standard_input_is_read(command, arguments):
    """No file and a lone dash are both standard input; by default a body arrives now."""
    outcome = command("normalize", "incs", *arguments, stdin=BODY)
    assert ids(outcome) == ["wamid.A"]
    assert outcome.code == 0


def test_who_types_is_told_how_to_end(command):
    """On a terminal, waiting for standard input is no riddle."""
    outcome = command("normalize", "incs", stdin=BODY, typed=True)
    assert "end with Ctrl-D" in outcome.err
    assert ids(outcome) == ["wamid.A"]


@pytest.mark.parametrize(
    "content",
    [b"\n".join([BODY, another("wamid.B")]), b"[" + BODY + b"," + another("wamid.B") + b"]"],
)
def test_a_file_may_hold_many_bodies(command, content):
    """NDJSON and an array are as good as a file for each body."""
    outcome = command("normalize", "incs", stdin=content)
    assert ids(outcome) == ["wamid.A", "wamid.B"]


def test_files_are_read_in_the_order_given(command, workplace):
    """Several files give their events one file after the other."""
    (workplace / "b.json").write_bytes(another("wamid.B"))
    (workplace / "a.json").write_bytes(BODY)
    assert ids(command("normalize", "incs", "b.json", "a.json")) == ["wamid.B", "wamid.A"]


def test_what_is_not_json_is_told_with_its_place(command, workplace):
    """File, line and column are named, nothing is quoted, and the neighbours arrive."""
    (workplace / "bad.json").write_bytes(
        BODY + b'\n{"secret words" 1}\n' + another("wamid.B") + b'\n 5 {\n  "a": ?}'
    )
    outcome = command("normalize", "incs", "bad.json")
    assert ids(outcome) == ["wamid.A", "wamid.B"]
    assert outcome.err.splitlines() == [
        "error: bad.json:2:17: not JSON: Expecting ':' delimiter",
        "error: bad.json:4:2: the body is a number, not a JSON object",
        "error: bad.json:5:8: not JSON: Expecting value",
    ]
    assert outcome.code == 1


def test_a_file_that_is_not_there(command, workplace):
    """It is told, the others are read all the same, and the exit code is that of a wrong call."""
    (workplace / "good.json").write_bytes(BODY)
    outcome = command("normalize", "incs", "missing.json", "good.json")
    assert ids(outcome) == ["wamid.A"]
    assert outcome.err == "error: missing.json: cannot be read: No such file or directory\n"
    assert outcome.code == 2


def test_what_cannot_be_understood_is_an_event(command):
    """An event name that nobody has documented is no failure of the command."""
    outcome = command("normalize", "incs", stdin=b'{"event": "brand_new"}')
    assert [event["kind"] for event in outcome.events] == ["unrecognized"]
    assert outcome.code == 0


def test_an_envelope_is_opened(command):
    """A body that wraps its payload, as Google's does, is unwrapped though nothing signs it."""
    # base64 of {"senderPhoneNumber": "+85268415026", "messageId": "m1", "text": "hi",
    #            "agentId": "shop", "sendTime": "2026-01-31T12:00:00Z"}
    data = (
        "eyJzZW5kZXJQaG9uZU51bWJlciI6ICIrODUyNjg0MTUwMjYiLCAibWVzc2FnZUlkIjogIm0xIiwgInRleHQi"
        "OiAiaGkiLCAiYWdlbnRJZCI6ICJzaG9wIiwgInNlbmRUaW1lIjogIjIwMjYtMDEtMzFUMTI6MDA6MDBaIn0="
    )
    outcome = command("normalize", "rcs", stdin=orjson.dumps({"message": {"data": data}}))
    assert [event["content"] for event in outcome.events] == [{"kind": "text", "text": "hi"}]


def test_a_configuration_ties_the_channels_names_together(command, config):
    """With --config a message names the channel's id, which only the configuration knows."""
    body = {
        "event": "new_message",
        "business_phone": "6281519236680",
        "message": {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "6281519236680", "phone_number_id": "1"},
            "messages": [
                {
                    "from": "85268415026",
                    "id": "wamid.C",
                    "timestamp": "1756109460",
                    "type": "text",
                    "text": {"body": "hello"},
                }
            ],
        },
    }
    [bare] = command("normalize", "incs", stdin=orjson.dumps(body)).events
    [told] = command("normalize", "incs", "--config", str(config), stdin=orjson.dumps(body)).events
    assert bare["account"] == "+6281519236680"
    assert told["account"] == "30058"


def test_a_configured_adapter_goes_by_its_own_name(command, config):
    """With --config it is the configuration that names the adapters."""
    config.write_text(
        config.read_text()
        .replace("[adapters.incs]", '[adapters.shop]\ntype = "incs"')
        .replace("adapters.incs.channels", "adapters.shop.channels")
    )
    [event] = command("normalize", "shop", "-c", str(config), stdin=BODY).events
    assert event["source"] == "shop"
    outcome = command("normalize", "incs", "-c", str(config), stdin=BODY)
    assert 'unknown configured adapter "incs"' in outcome.err
    assert outcome.code == 2


def test_an_adapter_that_is_not_installed_is_a_wrong_call(command):
    """A misspelt adapter exits with 2 and says what was probably meant."""
    outcome = command("normalize", "inc", stdin=BODY)
    assert 'unknown adapter "inc"; did you mean "incs"?' in outcome.err
    assert outcome.code == 2


def test_a_time_that_is_none_is_a_wrong_call(command):
    """A --received-at without a zone names no instant, so it is refused."""
    outcome = command("normalize", "incs", "--received-at", "2026-01-31", stdin=BODY)
    assert "expected a time such as 2026-01-31T12:00:00Z" in outcome.err
    assert outcome.code == 2


CRASHING = """
import attrs
from datetime import datetime, UTC
from bridge.adapter import Parsed, Verified
from bridge.model import Unrecognized

@attrs.frozen
class Settings:
    word: str = "x"

class Adapter:
    Settings = Settings
    methods = frozenset({"POST"})

    def __init__(self, name, settings):
        self.name = name

    def verify(self, callback):
        return Verified(payload=callback.body, received_at=callback.received_at)

    def parse(self, verified):
        if b"crash" in verified.payload:
            raise RuntimeError(verified.payload)
        raw = {1, 2} if b"unfit" in verified.payload else None
        return Parsed(events=(Unrecognized(
            key="k", source="s", channel="c", raw=raw, reason="r",
            occurred_at=verified.received_at, received_at=verified.received_at),))
"""


def test_an_adapter_that_fails_spoils_one_body_only(command, install):
    """A crash or an unfit event is told without quoting the body, and the rest arrives."""
    install("acme", CRASHING)
    outcome = command("normalize", "acme", stdin=b'{"a": "crash"}\n{"a": "unfit"}\n{"a": "fine"}')
    assert len(outcome.events) == 1
    first, second = outcome.err.splitlines()
    assert first.startswith("error: -:1:1: the adapter failed: RuntimeError at ")
    assert "acme_adapter.py:" in first
    assert second.startswith("error: -:2:1: the event does not fit into JSON")
    assert outcome.code == 1


def test_settings_that_cannot_be_opened_are_used_as_they_are(command, install, workplace):
    """An adapter whose settings know no `insecure` is made from the configured ones."""
    install("acme", CRASHING)
    (workplace / "config.toml").write_text('[adapters.acme]\nword = "y"\n')
    outcome = command("normalize", "acme", "-c", "config.toml", stdin=b"{}")
    assert len(outcome.events) == 1


def test_a_body_that_proves_nothing_is_read_all_the_same(command, install):
    """An adapter that always wants a proof gets the body of a file without one."""
    proof = "return Verified(payload=callback.body, received_at=callback.received_at)"
    refusal = "from bridge.errors import NotAuthentic; raise NotAuthentic('unsigned')"
    assert proof in CRASHING
    install("acme", CRASHING.replace(proof, refusal))
    assert len(command("normalize", "acme", stdin=b"{}").events) == 1


def test_an_adapter_that_needs_settings_says_so(command, install):
    """Without --config, an adapter with a setting that has no default cannot be made."""
    install("acme", CRASHING.replace('word: str = "x"', "word: str"))
    outcome = command("normalize", "acme", stdin=b"{}")
    assert "adapter acme needs settings: give --config FILE" in outcome.err
    assert outcome.code == 3


def test_a_reader_that_has_seen_enough_is_no_error(start):
    """When the other end of the pipe closes (`bridge normalize … | head -1`), it just ends."""
    process = start("normalize", "incs")
    process.stdout.close()
    process.stdin.write(BODY * 2000)
    process.stdin.close()
    assert process.wait() == 0
    assert process.stderr.read() == b""


def test_ctrl_c_is_no_crash(start, workplace):
    """An interrupt while it waits for standard input ends with 130 and without a traceback."""
    (workplace / "one.json").write_bytes(BODY)
    process = start("normalize", "incs", "one.json", "-")
    assert process.stdout.readline()  # so it is waiting for standard input now
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stderr.read() == b""
