"""Keys: one name for one event."""

import pytest

from bridge.model import Status, keys


def test_message_key():
    """A message is named by its channel and the provider's id."""
    assert keys.message_key("whatsapp", "wamid.1") == "message/whatsapp/wamid.1"


def test_message_key_with_sender():
    """Where ids are unique per sender only, the sender is part of the name."""
    assert keys.message_key("rcs", "Msg1", "+628151") == "message/rcs/+628151/Msg1"


def test_status_key():
    """The observation of a status is named by the message and our word for the status."""
    assert keys.status_key("whatsapp", "wamid.1", Status.READ) == "status/whatsapp/wamid.1/read"


def test_status_key_of_a_participant():
    """In a group, each participant's observation has a name of its own."""
    key = keys.status_key("whatsapp", "wamid.1", Status.READ, participant="+628151")
    assert key == "status/whatsapp/wamid.1/read/+628151"


def test_status_key_of_an_unknown_word():
    """Two words that stand in no documentation are two events."""
    warning, held = (
        keys.status_key("whatsapp", "wamid.1", Status.UNKNOWN, provider_status=word)
        for word in ("warning", "held")
    )
    assert warning == "status/whatsapp/wamid.1/unknown:warning"
    assert held == "status/whatsapp/wamid.1/unknown:held"


@pytest.mark.parametrize(
    ("status", "word"), [(Status.UNKNOWN, None), (Status.READ, "SEEN"), (Status.READ, "read")]
)
def test_status_key_ignores_the_spelling_of_a_known_status(status, word):
    """However the provider spells a known status, it is one event."""
    key = keys.status_key("rcs", "1", status, provider_status=word)
    assert key == f"status/rcs/1/{status.value}"


def test_template_key():
    """A change of a template is named by what changed to what, and when."""
    key = keys.template_key("whatsapp", "1689556908129832", "status", "APPROVED", "1739321024")
    assert key == "template/whatsapp/1689556908129832/status/APPROVED/1739321024"


def test_event_key():
    """Any other event is named by its kind and the provider's id or the item's digest."""
    assert keys.event_key("notice", "whatsapp", "ab12") == "notice/whatsapp/ab12"


def test_conversation_id():
    """A conversation is named by channel, account and user."""
    assert keys.conversation_id("rcs", "30058", "+628151") == "rcs:30058:+628151"


def test_conversation_id_without_an_account():
    """A missing account leaves its place empty, so that nothing else can move into it."""
    assert keys.conversation_id("rcs", None, "+628151") == "rcs::+628151"


@pytest.mark.parametrize(
    ("account", "expected"),
    [("30058", "whatsapp:30058:group:G1"), (None, "whatsapp::group:G1")],
)
def test_group_conversation_id(account, expected):
    """A group is never mistaken for a user of the same id."""
    assert keys.group_conversation_id("whatsapp", account, "G1") == expected
    assert keys.conversation_id("whatsapp", account, "G1") != expected
