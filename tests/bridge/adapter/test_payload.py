"""Reading what a provider sent, whatever it is."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.adapter import payload
from bridge.adapter.body import MAX_DEPTH, TooDeep, read_embedded, read_object
from bridge.errors import MalformedBody
from bridge.model import Form, Unrecognized
from bridge.model.codec import decode, encode
from tests.bridge.strategies import json_values, untimed

NOW = datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC)

any_json = json_values | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
numeric_text = st.text("0123456789+-.eE_ T:Z", max_size=30)


def nested(depth):
    """An object that nests so deep: arrays in one name."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def event_around(raw):
    return Unrecognized(
        key="unrecognized/incs/1",
        source="incs",
        channel="incs",
        occurred_at=NOW,
        received_at=NOW,
        raw=raw,
        reason="unknown event",
    )


# --- whole bodies ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", {}),
        (b' \r\n{"a" : 1}\n', {"a": 1}),
        (
            b'{"url":"https:\\/\\/x.org\\/","name":"\\u738b"}',
            {"url": "https://x.org/", "name": "王"},
        ),
        (b'{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":["x\\ud83d"],"\\udc00":null}', {"a": ["x\ufffd"], "\ufffd": None}),
        (b'{"a":18446744073709551615}', {"a": 2**64 - 1}),
        (b'{"a":-9223372036854775808,"b":"\\ud800"}', {"a": -(2**63), "b": "\ufffd"}),
        (b'{"a":18446744073709551616,"b":"\\ud800"}', {"a": 1.8446744073709552e19, "b": "\ufffd"}),
        (b'{"a":1e999,"b":0.5}', {"a": "1e999", "b": 0.5}),
        (b'{"a":' + b"9" * 500 + b"}", {"a": "9" * 500}),
        (b'{"a":' + b"9" * 350 + b"}", {"a": "9" * 350}),
    ],
    ids=[
        "empty",
        "spaces",
        "PHP escapes",
        "repeated name",
        "byte order mark",
        "surrogate pair",
        "lone surrogates",
        "largest integer",
        "smallest integer",
        "beyond 64 bits",
        "beyond a double",
        "more digits than Python reads",
        "integer beyond a double",
    ],
)
def test_read_object(body, expected):
    """Whatever is valid JSON is read, and what cannot be represented comes as near as can be."""
    assert read_object(body) == expected


@pytest.mark.parametrize(
    ("body", "reason", "place"),
    [
        (b"", "the body is empty", (1, 1, 0)),
        (b'{"a":1}}', "not JSON: Extra data", (1, 8, 7)),
        (b'{"a":1', "not JSON: Expecting ',' delimiter", (1, 7, 6)),
        (b'{\n "a": tru\n}', "not JSON: Expecting value", (2, 7, 8)),
        (
            '{"ü": tru}'.encode(),
            "not JSON: Expecting value",
            (1, 7, 7),
        ),
        (b'\xef\xbb\xbf{"a": tru}', "not JSON: Expecting value", (1, 7, 9)),
        (b'{"a":\n"\xff"}', "the body is not valid UTF-8", (2, 2, 7)),
        (b'{"\xc3\xbc":"\xff"}', "the body is not valid UTF-8", (1, 7, 7)),
        (b'\xef\xbb\xbf{"a":"\xff"}', "the body is not valid UTF-8", (1, 7, 9)),
        (b'{"a":NaN}', "not JSON: NaN is not a JSON value", (1, 6, 5)),
        (b'{"a":"NaN",\n"b":-Infinity}', "not JSON: -Infinity is not a JSON value", (2, 5, 16)),
        (b'{"a\\"NaN":Infinity}', "not JSON: Infinity is not a JSON value", (1, 11, 10)),
        (b"[]", "the body is an array, not a JSON object", (1, 1, 0)),
        (b'"a"', "the body is a string, not a JSON object", (1, 1, 0)),
        (b"true", "the body is a boolean, not a JSON object", (1, 1, 0)),
        (b"null", "the body is null, not a JSON object", (1, 1, 0)),
        (b"1", "the body is a number, not a JSON object", (1, 1, 0)),
        (b"1.5", "the body is a number, not a JSON object", (1, 1, 0)),
    ],
)
def test_malformed_body(body, reason, place):
    """A body that is no JSON object is refused with the line, column and byte of the fault."""
    with pytest.raises(MalformedBody) as caught:
        read_object(body)
    error = caught.value
    assert error.reason == reason
    assert (error.line, error.column, error.offset) == place


@pytest.mark.parametrize(
    "body",
    [b'{"a": hunter2', b'{"a": "\xff hunter2"}', b'"hunter2"', b"hunter2", b'{"hunter2":NaN}'],
)
def test_malformed_body_quotes_nothing(body):
    """Neither the text of the error nor what is shown with it holds any of the body."""
    with pytest.raises(MalformedBody) as caught:
        read_object(body)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_deepest_body():
    """A body of exactly the allowed depth is read, and fits into an event of ours."""
    value = read_object(nested(MAX_DEPTH))
    event = event_around(value)
    assert decode(encode(event)) == event


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1000, 1030, 100_000])
def test_too_deep_body(depth):
    """A body that nests deeper is refused as such, however deep it is."""
    with pytest.raises(TooDeep, match="nests deeper than 200 levels"):
        read_object(nested(depth))


@pytest.mark.parametrize("room", [0, 90, 500, 5000])
@pytest.mark.parametrize(
    ("levels", "opening", "closing"), [(1, "[", "]"), (1, '{"":', "}"), (2, '[{"":', "}]")]
)
def test_depth_is_measured_whatever_nests(levels, opening, closing, room):
    """Arrays, objects and both in turn may nest as deep and no deeper, in a body of any size."""

    def body(depth):
        times, rest = divmod(depth - 1, levels)
        inner = opening * times + "[" * rest + "1" + "]" * rest + closing * times
        return f'{{"":{inner}{" " * room}}}'.encode()

    read_object(body(MAX_DEPTH))
    with pytest.raises(TooDeep):
        read_object(body(MAX_DEPTH + 1))


def test_wide_is_not_deep():
    """Many brackets beside each other are no depth."""
    body = b'{"a":[' + b"[]," * MAX_DEPTH + b"[]]}"
    assert read_object(body) == {"a": [[]] * (MAX_DEPTH + 1)}


def read_or_refused(body):
    try:
        return read_object(body), None
    except MalformedBody as fault:
        return None, fault


@untimed
@given(st.binary() | any_json.map(lambda value: json.dumps(value).encode()))
@example(b'{"a":"\\ud800"}')
@example(b"\xef\xbb\xbf")
def test_any_bytes(body):
    """Any bytes give an object that can be written and embedded in an event, or MalformedBody."""
    value, fault = read_or_refused(body)
    if fault is None:
        orjson.dumps(value)
        event = event_around(value)
        assert decode(encode(event)) == event
    else:
        assert 0 <= fault.offset <= len(body)
        assert fault.line >= 1
        assert fault.column >= 1


@untimed
@given(json_values)
def test_tolerant_reader_agrees(value):
    """The tolerant reader gives what the fast one gives, wherever both can read."""
    body = orjson.dumps({"a": value})
    assert read_object(b"\xef\xbb\xbf" + body) == orjson.loads(body)


# --- JSON in a string --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"flow_token":"unused"}', {"flow_token": "unused"}),
        ("[1,2]", [1, 2]),
        ("123456", 123456),
        ("", ""),
        ("Hello!", "Hello!"),
        ('{"a":1', '{"a":1'),
        ('{"a":"\ud800"}', '{"a":"\ud800"}'),
    ],
)
def test_read_embedded(text, expected):
    """JSON in a string is read, and anything else stays the string it is."""
    assert read_embedded(text) == expected


def test_read_embedded_wide():
    """Many brackets beside each other are read as they stand."""
    assert read_embedded("[" + "[]," * 100 + "[]]") == [[]] * 101


@pytest.mark.parametrize("depth", [101, 300, 100_000])
def test_read_embedded_too_deep(depth):
    """What nests too deep stays a string, so that it still fits into an event."""
    text = "[" * depth + "]" * depth
    assert read_embedded(text) == text


def test_deepest_embedded():
    """What is read from a string fits into the content of an event."""
    text = '{"a":' + "[" * 99 + "]" * 99 + "}"
    form = Form(data=read_embedded(text))
    assert form.data != text
    orjson.dumps([[[[form.data]]]])


@untimed
@given(st.text(st.characters()) | any_json.map(json.dumps))
def test_read_embedded_any_text(text):
    """Any string gives a value."""
    read_embedded(text)


# --- single values -----------------------------------------------------------------------

READERS = [
    payload.mapping,
    payload.sequence,
    payload.text,
    payload.filled,
    payload.identifier,
    payload.integer,
    payload.number,
    payload.decimal,
    payload.boolean,
    payload.instant,
    payload.phone,
    payload.sha256_hex,
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@untimed
@given(value=any_json | numeric_text)
def test_readers_are_total(reader, value):
    """No reader raises, whatever the JSON value."""
    reader(value)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@untimed
@given(value=json_values | numeric_text)
def test_readers_give_what_can_be_written(reader, value):
    """Whatever a reader gives has a place in our JSON."""
    orjson.dumps(reader(value), default=str)


@pytest.mark.parametrize(
    ("value", "expected"), [({"a": 1}, {"a": 1}), ({}, {}), (None, {}), ([], {}), ("", {}), (1, {})]
)
def test_mapping(value, expected):
    """Only an object is one; anything else is taken as an empty one."""
    assert payload.mapping(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [([1], [1]), ([], []), (None, []), ({"a": 1}, []), ("ab", []), (1, [])]
)
def test_sequence(value, expected):
    """Only an array is one; anything else is taken as an empty one."""
    assert payload.sequence(value) == expected


@pytest.mark.parametrize(
    ("value", "text", "filled", "identifier"),
    [
        ("a", "a", "a", "a"),
        ("", "", None, None),
        (" ", " ", " ", " "),
        (123456, "123456", "123456", "123456"),
        (260400000076, "260400000076", "260400000076", "260400000076"),
        (0, "0", "0", "0"),
        (1.5, "1.5", "1.5", None),
        (4.0, "4.0", "4.0", "4"),
        (1e300, "1e+300", "1e+300", None),
        (float("inf"), "inf", "inf", None),
        (float("nan"), "nan", "nan", None),
        (True, None, None, None),
        (None, None, None, None),
        ([], None, None, None),
        ({}, None, None, None),
    ],
)
def test_words(value, text, filled, identifier):
    """Numbers become words, an empty string is no id, and a truth value is never a word."""
    assert payload.text(value) == text
    assert payload.filled(value) == filled
    assert payload.identifier(value) == identifier


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (-5, -5),
        ("0", 0),
        ("-12", -12),
        ("007", 7),
        (2.0, 2),
        (2.5, None),
        (1e300, None),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", None),
        ("99999999999999999999999", None),
        (2**64, None),
        ("", None),
        ("-", None),
        ("+1", None),
        ("1.0", None),
        ("1_000", None),
        ("٣", None),
        (True, None),
        (None, None),
        ([1], None),
    ],
)
def test_integer(value, expected):
    """A whole number is read from a number or its digits, as long as 64 bits hold it."""
    result = payload.integer(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0.0),
        (0.0, 0.0),
        (-6.25, -6.25),
        ("106.827", 106.827),
        ("-6.25", -6.25),
        ("1e3", 1000.0),
        ("1e999", None),
        ("nan", None),
        ("Infinity", None),
        (float("inf"), None),
        (float("nan"), None),
        (10**400, None),
        ("1_000", None),
        ("٣", None),
        ("9" * 500, None),
        ("", None),
        ("north", None),
        (True, None),
        (None, None),
        ({}, None),
    ],
)
def test_number(value, expected):
    """A number is read from a number or its decimal form, as long as it is finite."""
    result = payload.number(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (50, "50"),
        (0.1, "0.1"),
        ("19.90", "19.90"),
        (" 19.90 ", "19.90"),
        ("-1", "-1"),
        ("1E+2", "1E+2"),
        ("NaN", None),
        ("Infinity", None),
        (float("inf"), None),
        ("1_000", None),
        ("٣", None),
        ("1,50", None),
        ("9" * 500, None),
        ("", None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_decimal(value, expected):
    """A price keeps the digits it was written with."""
    result = payload.decimal(value)
    assert result == (None if expected is None else Decimal(expected))
    assert expected is None or str(result) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        ("true", True),
        ("True", True),
        ("false", False),
        ("1", None),
        ("yes", None),
        (2, None),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_boolean(value, expected):
    """A truth value is read from itself, from 0 and 1, and from its English word."""
    assert payload.boolean(value) is expected


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # Unix seconds and milliseconds: 1749416383 is 2025-06-08 20:59:43 UTC.
        (1749416383, utc(2025, 6, 8, 20, 59, 43)),
        ("1749416383", utc(2025, 6, 8, 20, 59, 43)),
        (1749416383.5, utc(2025, 6, 8, 20, 59, 43, 500_000)),
        (1749416383123, utc(2025, 6, 8, 20, 59, 43, 123_000)),
        ("1749416383123", utc(2025, 6, 8, 20, 59, 43, 123_000)),
        # What stands for no time: the zeros of three languages, and a counter.
        (0, None),
        ("0", None),
        (86_400, None),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        (999_999_999, None),
        (1_000_000_000, utc(2001, 9, 9, 1, 46, 40)),
        # RFC 3339 as INCS writes it: six digits, and three in `msgDate`.
        ("2026-04-10T07:31:52.123456Z", utc(2026, 4, 10, 7, 31, 52, 123_456)),
        ("2026-04-10T07:31:52.123Z", utc(2026, 4, 10, 7, 31, 52, 123_000)),
        # Google: "Z-normalized", with 0, 3, 6 or 9 fractional digits, other offsets accepted.
        ("2014-10-02T15:01:23Z", utc(2014, 10, 2, 15, 1, 23)),
        ("2014-10-02T15:01:23.045123456Z", utc(2014, 10, 2, 15, 1, 23, 45_123)),
        ("2014-10-02T15:01:23+05:30", utc(2014, 10, 2, 9, 31, 23)),
        ("2014-10-02T15:01:23-0800", utc(2014, 10, 2, 23, 1, 23)),
        ("2014-10-02t15:01:23z", utc(2014, 10, 2, 15, 1, 23)),
        ("2014-10-02 15:01:23Z", utc(2014, 10, 2, 15, 1, 23)),
        ("2016-12-31T23:59:60Z", utc(2016, 12, 31, 23, 59, 59)),
        ("2014-10-02T15:01:23.5+05:30", utc(2014, 10, 2, 9, 31, 23, 500_000)),
        ("2014-10-02T15:01:23.0451234567890Z", utc(2014, 10, 2, 15, 1, 23, 45_123)),
        # No instants.
        ("2026-04-10 07:31:52", None),
        ("2014-10-02T15:01:23.Z", None),
        ("2014-10-02T15:01:23,5Z", None),
        ("2014-10-02T15:01:23.5", None),
        ("2014-10-02T15:01:23.123456xZ", None),
        ("2014-10-02T15:01:23Z+01:00", None),
        ("2014-10-02T150123.1Z", None),
        ("2014-10-02T24:00:00Z", None),
        ("2014-W40-4T15:01:23Z", None),
        ("2026-04-10", None),
        ("2026-02-30T00:00:00Z", None),
        ("2026-04-10T25:00:00Z", None),
        ("2026-04-10T07:31:52+99:00", None),
        ("2026-04-10T07:31:52+07:60", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("\uff19\uff10\uff12\uff16-04-10T07:31:52Z", None),
        (-1, None),
        ("-1749416383", None),
        (10**18, None),
        ("1749416383123456789", None),
        ("", None),
        ("yesterday", None),
        (True, None),
        (None, None),
        ({}, None),
    ],
)
def test_instant(value, expected):
    """A time is read in UTC from every form that a provider writes, and never guessed."""
    result = payload.instant(value)
    assert result == expected
    assert result is None or result.tzinfo is UTC


def test_a_remembered_time_is_told_from_what_only_equals_it():
    """A number of seconds is not `true`, and its digits are not those of another script."""
    for _ in range(2):
        assert payload.instant(1_749_416_383) == utc(2025, 6, 8, 20, 59, 43)
        assert payload.instant(True) is None
        assert payload.instant("1749416383") == utc(2025, 6, 8, 20, 59, 43)
        assert payload.instant("\uff11749416383") is None


def test_few_times_are_remembered():
    """However many times come, each is read right and few are kept."""
    for seconds in range(1_700_000_000, 1_700_001_000):
        expected = utc(2023, 11, 14, 22, 13, 20) + timedelta(seconds=seconds - 1_700_000_000)
        assert payload.instant(str(seconds)) == payload.instant(seconds) == expected
    assert len(payload.unix_times) <= 256


@pytest.mark.parametrize(
    "seconds", ["", "17000000000", "0700000000", "\uff11749416383", 5, True, None]
)
def test_what_tells_no_seconds_is_not_remembered(seconds):
    """What is no number of seconds since 2001, nor its ten digits, is no time."""
    with pytest.raises(KeyError):
        payload.unix_times[seconds]
    assert seconds not in payload.unix_times


@st.composite
def nearly_times(draw):
    """A time of RFC 3339 with some of its characters replaced, removed or added."""
    text = draw(st.sampled_from(["2026-04-10T07:31:52Z", "2026-04-10T07:31:52.123456Z"]))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        other = draw(st.text("0123456789-:.,+TtZzW \uff11", max_size=2))
        text = text[:place] + other + text[place + draw(st.integers(0, 2)) :]
    return text


@settings(untimed, max_examples=1000)
@given(nearly_times())
def test_both_readers_of_times_agree(text):
    """The quick reader of the usual form never reads what the thorough one would not."""
    if "-" in text[1:]:
        assert payload.instant(text) == payload._rfc3339(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("6281519140327", "+6281519140327"),
        ("+6281519140327", "+6281519140327"),
        (6281519140327, "+6281519140327"),
        ("+1 (555) 078-3881", "+15550783881"),
        ("1\u00a0555\u2011078.3881", "+15550783881"),
        ("+628XXXXXXXXX", None),
        ("US.13491208655302741918", None),
        ("incs_1", None),
        ("081519140327", None),
        ("+0081519140327", None),
        ("++6281519140327", None),
        ("1234", None),
        ("1234567890123456", None),
        ("", None),
        ("+", None),
        ("٦٢٨١٥١٩١٤٠٣٢٧", None),
        (True, None),
        (1.5, None),
        (None, None),
        ([], None),
    ],
)
def test_phone(value, expected):
    """A phone is E.164 with its plus sign, or nothing at all."""
    assert payload.phone(value) == expected


# SHA-256 of the empty string, FIPS 180-4.
EMPTY_HEX = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
EMPTY_BASE64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (EMPTY_BASE64, EMPTY_HEX),
        ("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU", EMPTY_HEX),
        (EMPTY_HEX, EMPTY_HEX),
        (EMPTY_HEX.upper(), EMPTY_HEX),
        (EMPTY_HEX[:-2] + "  ", None),
        ("x" * 64, None),
        ("47DEQpj8HBSa", None),
        ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", None),
        ("é" * 44, None),
        ("", None),
        (None, None),
        (1, None),
        ([], None),
    ],
)
def test_sha256_hex(value, expected):
    """A SHA-256 is hexadecimal, whichever of its usual forms a provider chose."""
    assert payload.sha256_hex(value) == expected


@untimed
@given(st.binary(min_size=32, max_size=32))
def test_sha256_hex_of_any_digest(raw):
    """Every digest is read from all three forms."""
    assert payload.sha256_hex(base64.b64encode(raw).decode()) == raw.hex()
    assert payload.sha256_hex(base64.urlsafe_b64encode(raw).decode().rstrip("=")) == raw.hex()
    assert payload.sha256_hex(raw.hex()) == raw.hex()


def test_digest():
    """A digest is the SHA-256 of the compact JSON with its names in order."""
    expected = hashlib.sha256('{"a":["ü",null],"b":1}'.encode()).hexdigest()
    assert payload.digest({"b": 1, "a": ["ü", None]}) == expected


@untimed
@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_digest_ignores_the_order_of_names(item):
    """The same item gives the same digest, in whatever order its names came."""
    assert payload.digest(dict(reversed(item.items()))) == payload.digest(item)
