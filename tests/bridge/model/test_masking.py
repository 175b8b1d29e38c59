"""What people read holds no phone, no text and nothing a terminal acts on."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model.masking import mask_phone, mask_phones_in, mask_text, neutralise


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello", "hello"),
        ("你好, Grüße", "你好, Grüße"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202edcba", r"abc\u202edcba"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\ud800", r"\ud800"),
        ("a\u00a0b", "a\u00a0b"),
    ],
)
def test_what_acts_on_a_terminal_is_written_out(text, shown):
    """Controls, escape sequences, overrides and separators become visible escapes."""
    assert neutralise(text) == shown


def test_joined_emoji_stay_whole():
    """The joiner inside an emoji is part of its spelling and stays."""
    assert neutralise("👩\u200d💻\nok") == "👩\u200d💻\\nok"


@given(st.text(st.characters(exclude_categories=[])))
def test_neutralised_text_is_one_harmless_line(text):
    """Whatever the text, its neutralised form has no control, override or line break."""
    shown = neutralise(text)
    assert len(shown.splitlines()) <= 1
    categories = {unicodedata.category(c) for c in shown if c not in "\u200c\u200d"}
    assert categories.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})


@pytest.mark.parametrize(
    ("phone", "masked"),
    [
        ("+85268415026", "+8526****026"),
        ("6281519236680", "6281****680"),
        ("+12345", "+****5"),
        ("", "****"),
    ],
)
def test_a_masked_phone_keeps_its_ends(phone, masked):
    """A long number keeps its first four and last three digits, a short one its last only."""
    assert mask_phone(phone) == masked


@given(st.from_regex(r"\+?[0-9]{5,15}", fullmatch=True))
def test_a_masked_phone_hides_at_least_three_digits(phone):
    """No number can be read back from its masked form."""
    assert sum(c.isdigit() for c in mask_phone(phone)) <= sum(c.isdigit() for c in phone) - 3


def test_a_masked_text_tells_its_length_only():
    """A text is replaced by the number of its characters."""
    assert mask_text("hello") == "(5 characters)"
    assert mask_text("!") == "(1 character)"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("no route for +85268415026.", "no route for +8526****026."),
        ("whatsapp:30058:+85268415026", "whatsapp:30058:+8526****026"),
        ("KeyError: '85268415026'", "KeyError: '8526****026'"),
        ("30058_6281519140327", "30058_6281****327"),
        ("+1 (415) 555-0132", "+1415****132"),
        ("message/rcs/+85268415026/Ms1", "message/rcs/+8526****026/Ms1"),
        ("message/incs/260400000084", "message/incs/260400000084"),
        ("template/whatsapp/1/status/A/1754466101", "template/whatsapp/1/status/A/1754466101"),
        ("message/whatsapp/wamid.HBgN6281519236680A", "message/whatsapp/wamid.HBgN6281519236680A"),
        ("8080 bytes in 30058", "8080 bytes in 30058"),
    ],
)
def test_phones_inside_a_text_are_masked(text, masked):
    """Anything that could be a phone is masked; ids, ports and INCS's message numbers stay."""
    assert mask_phones_in(text) == masked
