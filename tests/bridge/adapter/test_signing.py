"""Secrets, tokens, signatures and addresses."""

import hashlib
import hmac
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bridge.adapter.signing import Secret, Signatures, Tokens, client_address, secrets_of
from bridge.errors import ConfigurationError
from tests.bridge.strategies import untimed

anything = st.text(st.characters())


def secrets(*values):
    return [Secret(value) for value in values]


# --- secrets -----------------------------------------------------------------------------


def test_secret_is_given_out_on_purpose_only():
    """`reveal` gives the secret out, and no way of showing it does."""
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    for shown in (repr(secret), str(secret), f"{secret}", "%s" % secret, repr([secret])):  # noqa: UP031 - one of the ways
        assert shown.strip("[]") == "Secret(********)"


def test_secret_does_not_tell_its_length():
    """Short and long secrets, and none at all, look the same."""
    assert repr(Secret("")) == repr(Secret("x" * 100))


def test_secrets_compare_by_value():
    """Two secrets are equal iff their values are, and equal ones have one hash."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("ü") == Secret("ü")
    assert hash(Secret("a")) == hash(Secret("a"))


def test_secret_is_not_a_string():
    """A secret never equals its own value, so that it is not mixed up with a plain string."""
    assert Secret("a") != "a"


@pytest.mark.parametrize(("value", "expected"), [("a", True), ("", False)])
def test_empty_secret_is_none(value, expected):
    """An empty secret counts as none."""
    assert bool(Secret(value)) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), []),
        (("old", Secret("new")), ["old", "new"]),
        (["old", "new"], ["old", "new"]),
        ((word for word in ("old", "new")), ["old", "new"]),
        ("hunter2", ["hunter2"]),
        (Secret("hunter2"), ["hunter2"]),
        ("", [""]),
    ],
)
def test_settings_take_plain_strings_for_secrets(given, expected):
    """Strings become secrets, and a single one stays whole: its letters are no secrets."""
    assert secrets_of(given) == tuple(secrets(*expected))


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (None, "NoneType"),
        (b"hunter2", "bytes"),
        (1234567, "int"),
        ((Secret("hunter2"), None), "NoneType"),
        (["hunter2", b"hunter2"], "bytes"),
        ([1234567], "int"),
        ([["hunter2"]], "list"),
    ],
)
def test_what_is_no_string_is_no_secret(given, kind):
    """Anything else is refused at once by its type, and nothing of it is shown."""
    with pytest.raises(ConfigurationError) as caught:
        secrets_of(given)
    assert str(caught.value) == f"a secret must be a string, and not {kind}"


# --- tokens ------------------------------------------------------------------------------


@untimed
@given(st.lists(st.text(), max_size=4), anything)
def test_token_matches_iff_it_is_one_of_ours(values, presented):
    """A string opens iff it is one of the tokens, but for slashes around them, and not empty."""
    word = presented.strip("/")
    is_one = word in [value.strip("/") for value in values]
    assert Tokens(secrets(*values)).match(presented) is (word != "" and is_one)


@untimed
@given(st.lists(st.text().filter(lambda word: word.strip("/")), min_size=1, max_size=4), st.data())
def test_every_token_opens(values, data):
    """While tokens are rotated, each of them opens, but for one of slashes alone."""
    assert Tokens(secrets(*values)).match(data.draw(st.sampled_from(values)))


@pytest.mark.parametrize("values", [[], [""]])
def test_no_token_opens_nothing(values):
    """Without a token, or with an empty one, the door stays shut."""
    tokens = Tokens(secrets(*values))
    assert not tokens
    assert not tokens.match("")
    assert not tokens.match(None)


@pytest.mark.parametrize("presented", [None, "", "\ud800", "\x00", "open sesame ", "OPEN SESAME"])
def test_malformed_token_does_not_match(presented):
    """What is missing, malformed or merely similar does not open the door, and never raises."""
    tokens = Tokens(secrets("open sesame"))
    assert tokens
    assert not tokens.match(presented)


@pytest.mark.parametrize("configured", ["word", "/word", "word/", "//word//"])
@pytest.mark.parametrize("presented", ["word", "/word", "word/"])
def test_slashes_around_a_token_do_not_count(configured, presented):
    """A token matches as it stands at the end of an address, which keeps no slashes around it."""
    assert Tokens(secrets(configured)).match(presented)
    assert not Tokens(secrets(configured)).match("wo/rd")


@pytest.mark.parametrize("presented", ["", "/", "//", None])
def test_slashes_alone_match_nothing(presented):
    """A token of slashes keeps everybody out, rather than letting everybody in."""
    tokens = Tokens(secrets("/", "//"))
    assert tokens
    assert not tokens.match(presented)


# --- signatures --------------------------------------------------------------------------

# RFC 4231, test case 2.
RFC_KEY = "Jefe"
RFC_DATA = b"what do ya want for nothing?"
RFC_SHA256 = bytes.fromhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
RFC_SHA512 = bytes.fromhex(
    "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
    "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
)


@pytest.mark.parametrize(
    ("algorithm", "expected"), [("sha256", RFC_SHA256), ("sha512", RFC_SHA512)]
)
def test_signature_of_rfc_4231(algorithm, expected):
    """The signature is HMAC as RFC 4231 computes it."""
    signatures = Signatures(algorithm, secrets(RFC_KEY))
    assert signatures.sign(RFC_DATA) == expected
    assert signatures.match(RFC_DATA, expected)


@untimed
@given(st.lists(st.text(min_size=1), min_size=1, max_size=3), st.binary(), st.data())
def test_every_secret_signs(values, payload, data):
    """While secrets are rotated, a signature under each of them matches, again and again."""
    value = data.draw(st.sampled_from(values))
    signature = hmac.digest(value.encode(), payload, "sha256")
    signatures = Signatures("sha256", secrets(*values))
    assert signatures.match(payload, signature)
    assert signatures.match(payload, signature)
    assert signatures.sign(payload) == hmac.digest(values[0].encode(), payload, "sha256")


@untimed
@given(st.binary(), st.integers(0, 255))
def test_one_changed_bit_does_not_match(payload, bit):
    """A signature that differs in a single bit does not match."""
    signature = int.from_bytes(hmac.digest(b"secret", payload, "sha256"))
    changed = (signature ^ (1 << bit)).to_bytes(32)
    assert not Signatures("sha256", secrets("secret")).match(payload, changed)


@untimed
@given(st.binary(), st.binary(min_size=1))
def test_a_longer_payload_does_not_match(payload, suffix):
    """A signature stands for exactly the bytes that were signed."""
    signatures = Signatures("sha256", secrets("secret"))
    assert not signatures.match(payload + suffix, signatures.sign(payload))


@untimed
@given(st.binary())
def test_any_signature(signature):
    """Whatever is presented as a signature, of any length, does not match and never raises."""
    assert not Signatures("sha256", secrets("secret")).match(b"{}", signature)


@pytest.mark.parametrize("values", [[], [""]])
def test_no_secret_matches_nothing(values):
    """Without a secret nothing matches, not even a signature under the empty one."""
    signatures = Signatures("sha256", secrets(*values))
    assert not signatures
    assert not signatures.match(b"{}", hmac.digest(b"", b"{}", "sha256"))
    assert Signatures("sha256", secrets("a"))


def test_nothing_is_shown():
    """Neither tokens nor signatures show a secret, nor what is computed from it."""
    for keeper in (Tokens(secrets("hunter2")), Signatures("sha256", secrets("hunter2"))):
        shown = f"{keeper!r} {keeper!s}"
        assert "hunter2" not in shown
        assert hashlib.sha256(b"hunter2").hexdigest() not in shown
        assert not hasattr(keeper, "__dict__")


# --- who sent it -------------------------------------------------------------------------

PROXIES = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        # No proxy: the header is anybody's word.
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        # A chain, read from the right, up to the first who is not trusted.
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66", "198.51.100.1,10.0.0.2"], "198.51.100.1"),
        ("2001:db8::1", ["2001:db9::5"], "2001:db9::5"),
        # Nobody but proxies: the outermost one.
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # Ports, brackets, zones and mapped addresses.
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db9::5]:4711"], "2001:db9::5"),
        ("10.0.0.1", ["[2001:db9::5]"], "2001:db9::5"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        # Garbage ends the chain: nobody knows.
        ("10.0.0.1", ["unknown"], None),
        ("10.0.0.1", ["198.51.100.1, "], None),
        ("10.0.0.1", ["198.51.100.1, _hidden, 10.0.0.2"], None),
        ("10.0.0.1", ["999.1.1.1"], None),
        ("unix", ["198.51.100.1"], None),
        ("", [], None),
        (None, ["198.51.100.1"], None),
    ],
)
def test_client_address(peer, forwarded_for, expected):
    """The client is the first address from the right that no trusted proxy stands for."""
    address = client_address(peer, forwarded_for, PROXIES)
    assert address == (None if expected is None else ip_address(expected))


def test_client_address_without_proxies():
    """While no proxy is trusted, the peer is the client, whatever the header says."""
    address = client_address("203.0.113.7", ["198.51.100.1"], ())
    assert address == ip_address("203.0.113.7")


@untimed
@given(anything, st.lists(anything | st.ip_addresses().map(str), max_size=4))
def test_client_address_never_raises(peer, forwarded_for):
    """Whatever the header holds, there is an answer."""
    client_address(peer, forwarded_for, PROXIES)
    client_address("10.0.0.1", forwarded_for, PROXIES)


@untimed
@given(st.ip_addresses(), st.lists(anything, max_size=2))
def test_a_client_cannot_choose_its_address(client, forged):
    """Behind a trusted proxy, what the client itself put into the header changes nothing."""
    honest = client_address("10.0.0.1", [str(client)], PROXIES)
    assume(not any(honest in network for network in PROXIES))
    assert client_address("10.0.0.1", [*forged, str(client)], PROXIES) == honest
