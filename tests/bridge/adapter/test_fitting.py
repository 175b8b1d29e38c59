"""What is too long is split, what is not offered is degraded, by what a channel declares."""

from __future__ import annotations

from uuid import UUID, uuid5

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapter import Act, Capabilities, CarouselForm, MediaForm, MenuForm, Receipts
from bridge.adapter.fitting import fit, parts
from bridge.adapter.texts import split_text
from bridge.errors import Unsendable
from bridge.model import (
    Carousel,
    ContactCard,
    Contacts,
    Deletion,
    Edit,
    Location,
    Media,
    MediaKind,
    Menu,
    Option,
    Reaction,
    Receipt,
    Template,
    Text,
)
from tests.adapters.sending import OURS, outbound

BUTTONS = MenuForm(name="buttons", options=2, title=5, id=5, text=20, unique_titles=True)
LINKS = MenuForm(name="links", acts=frozenset({Act.URL}), options=1, title=5, text=20)
CARDS = MenuForm(
    name="cards", options=1, title=5, id=5, text=20, media=frozenset({MediaKind.IMAGE})
)
FULL = Capabilities(
    channel="full",
    title="Full",
    text=30,
    menus=(BUTTONS, LINKS),
    carousel=CarouselForm(cards=3, text=10, needs_text=True, forms=(CARDS,), alike=True),
    media={
        MediaKind.IMAGE: MediaForm(
            caption=5, mime_types=("image/png",), size=2 * 2**20, by_id=True
        ),
        MediaKind.AUDIO: MediaForm(),
    },
    location=True,
    contacts=2,
    reaction=True,
    deletion=True,
    templates="yes",
    receipts=Receipts.TOGETHER,
    quote=True,
    groups=frozenset({"text"}),
)
BARE = Capabilities(channel="bare", title="Bare", text=30, media={})
PICTURE = Media(media=MediaKind.IMAGE, url="https://e.com/a.png")
# Whoever changes it sends the parts again of what was under way.
NAMESPACE = UUID("3e2f27a2-9d0e-5f5e-8a3b-6a1c9f0f5c11")
ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
YES, NO = Option("yes", "Yes"), Option("no", "No")


# --- splitting -----------------------------------------------------------------------------------


@given(text=st.text(max_size=300), limit=st.integers(1, 40))
def test_pieces_joined_give_the_text(text, limit):
    """However a text is split, its pieces joined are the text, and none is too long."""
    pieces = split_text(text, limit)
    assert "".join(pieces) == text
    assert all(len(piece) <= limit for piece in pieces)
    assert all(pieces) or text == ""


@given(words=st.lists(st.text("abcdefgh", min_size=1, max_size=10), max_size=40))
def test_words_stay_whole(words):
    """No word that fits into a piece is cut."""
    pieces = split_text(" ".join(words), 12)
    assert [word for piece in pieces for word in piece.split()] == words


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("one two three", 8, ("one two ", "three")),
        ("one two", 7, ("one two",)),
        ("abcdefghij", 4, ("abcd", "efgh", "ij")),
        # A line break in the second half goes before a later space.
        ("aaaa bbbb\ncc dd ee", 14, ("aaaa bbbb\n", "cc dd ee")),
        ("a\nbbbb cccc dddd", 12, ("a\nbbbb cccc ", "dddd")),
        # What is shown as one character is not cut.
        ("aaae\u0301b", 4, ("aaa", "e\u0301b")),
        ("aa👍🏽bb", 3, ("aa", "👍🏽b", "b")),
        ("a👩‍🚀b", 3, ("a", "👩‍🚀", "b")),
        ("a🇮🇩b", 2, ("a", "🇮🇩", "b")),
        # Of many flags in a row, each stays whole.
        ("a" + "🇮🇩" * 40, 40, ("a" + "🇮🇩" * 19, "🇮🇩" * 20, "🇮🇩")),
        # https://www.unicode.org/reports/tr29/#Table_Sample_Grapheme_Clusters, and a flag of tags
        ("aa" + ENGLAND, 8, ("aa", ENGLAND)),
        ("aa\u0915\u094d\u0937\u093f", 4, ("aa", "\u0915\u094d\u0937\u093f")),
        ("aa\u0e01\u0e33", 3, ("aa", "\u0e01\u0e33")),
        ("aa\u1100\u1161\u11a8", 4, ("aa", "\u1100\u1161\u11a8")),
        ("aa\uff76\uff9e", 3, ("aa", "\uff76\uff9e")),
        # Beyond what one character may be made of there is no other way.
        ("\u0301" * 50, 40, ("\u0301" * 40, "\u0301" * 10)),
        ("", 5, ("",)),
    ],
)
def test_where_a_text_is_split(text, limit, pieces):
    """A text breaks at lines, then at words, then between what users see as characters."""
    assert split_text(text, limit) == pieces


def test_blank_pieces_do_not_go_out():
    """A piece that holds nothing but space would be refused, and says nothing."""
    fitted = fit(Text(text="a" + " " * 70 + "b"), BARE)
    assert [content.text.strip() for content in fitted.contents] == ["a", "b"]


# --- parts ---------------------------------------------------------------------------------------


def test_parts_have_ids_that_stay_the_same():
    """The first part keeps id, key and quotation; the others' ids follow from it."""
    message = outbound(Text(text="word " * 14), channel="full", reply_to="theirs")
    several = parts(message, FULL)
    assert len(several) == 3
    assert [part.message_id for part in several] == [
        OURS,
        str(uuid5(NAMESPACE, f"{OURS}/2")),
        str(uuid5(NAMESPACE, f"{OURS}/3")),
    ]
    assert [part.key for part in several] == [
        message.key,
        f"{message.key}/2",
        f"{message.key}/3",
    ]
    assert [part.reply_to is not None for part in several] == [True, False, False]
    assert "".join(part.content.text for part in several) == "word " * 14


def test_a_message_that_fits_goes_as_it_is():
    """One part is the message itself, so that the journal keeps what was meant."""
    menu = outbound(Menu("Pick", options=[YES, NO]), channel="bare")
    assert parts(menu, BARE) == (menu,)


@pytest.mark.parametrize(
    ("content", "capabilities", "loss"),
    [
        (Text(text="x" * 31), FULL, "a text of 31 characters goes in 2 messages"),
        (Menu("Pick", options=[YES, NO]), BARE, "the menu becomes a numbered text"),
        (
            Menu("Pick", options=[YES, NO, Option("3", "3")]),
            FULL,
            (
                "the menu becomes a numbered text: 3 options, of which buttons take 2, nor"
                " 3 options, of which links take 1"
            ),
        ),
        (
            Menu("Pick", header="Top", options=[YES]),
            FULL,
            (
                "some of the menu moves into its text: a header of 3 characters, of which buttons"
                " take 0"
            ),
        ),
        (
            Menu("Pick", media=PICTURE, options=[YES]),
            FULL,
            "the menu's file goes in a message of its own",
        ),
        (Location(latitude=1.0, longitude=2.0), BARE, "sent as a text with a link"),
        (Contacts(contacts=(ContactCard(name="Al"),)), BARE, "the contacts are sent as a text"),
        (
            Contacts(contacts=(ContactCard(name="Al"),) * 3),
            FULL,
            "3 contacts go in 2 messages",
        ),
        (
            Media(media=MediaKind.VOICE, url="https://e.com/a.ogg"),
            FULL,
            "the voice is sent as audio",
        ),
        (
            Media(media=MediaKind.VIDEO, url="https://e.com/a"),
            FULL,
            "the video is sent as a link: there is no video",
        ),
        (
            Media(media=MediaKind.IMAGE, url="https://e.com/a", mime_type="image/webp; q=1"),
            FULL,
            "the image is sent as a link: image/webp is none of image/png",
        ),
        (
            Media(media=MediaKind.IMAGE, url="https://e.com/a", size=2 * 2**20 + 1),
            FULL,
            "a file of 2097153 bytes, and 2097152 are possible",
        ),
        (
            Media(media=MediaKind.IMAGE, media_id="1", caption="abcdef"),
            FULL,
            "the caption of 6 characters goes in a message of its own",
        ),
        (
            Carousel([Menu("One", options=[YES])] * 2, text="x" * 11),
            FULL,
            "the cards go one after the other: a text of 11 characters, where 10 are possible",
        ),
        (
            Carousel([Menu("One", options=[YES])] * 2),
            FULL,
            "no text above the cards, which a carousel needs",
        ),
        (
            Carousel([Menu("One", options=[YES])] * 4, text="Look"),
            FULL,
            "4 cards, where a carousel takes 2 to 3",
        ),
        (
            Carousel([Menu("One", options=[YES])], text="Look"),
            BARE,
            "the cards go one after the other: there are no carousels",
        ),
        (
            Carousel(
                [Menu("One", options=[YES]), Menu("Two", media=PICTURE, options=[NO])],
                text="Look",
            ),
            FULL,
            "cards of different make",
        ),
        (
            Carousel([Menu("One", options=[YES]), Menu("Two", options=[YES, NO])], text="Look"),
            FULL,
            "2 options, of which cards take 1",
        ),
    ],
)
def test_a_loss_is_told_in_words_and_refused_where_asked_for(content, capabilities, loss):
    """What the default degrades is named, and `strict` refuses it for that reason."""
    assert loss in "; ".join(fit(content, capabilities).losses)
    message = outbound(content, channel=capabilities.channel)
    assert parts(message, capabilities)
    with pytest.raises(Unsendable) as caught:
        parts(message, capabilities, strict=True)
    assert str(caught.value).startswith(f"{capabilities.title}: ")
    assert loss in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        Text(text="x" * 30),
        Menu("Pick", options=[YES, NO]),
        Menu("Pick", options=[Option("1", "Go", url="https://e.com")]),
        Menu("Pick", header=" ", footer="", options=[YES]),
        Carousel([Menu("One", options=[YES]), Menu("Two", options=[NO])], text="Look"),
        Media(media=MediaKind.IMAGE, media_id="1", caption="abcde"),
        Contacts(contacts=(ContactCard(name="Al"),) * 2),
        Location(latitude=90.0, longitude=-180.0),
        Reaction(message_id="a"),
        Deletion(message_id="a"),
        Template(name="a"),
        Receipt(message_id="a", typing=True),
    ],
)
def test_what_the_channel_offers_loses_nothing(content):
    """What is within the limits goes as one message, also where nothing may get lost."""
    message = outbound(content, channel="full")
    assert parts(message, FULL, strict=True) == (message,)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Reaction(message_id="a"), "no reactions"),
        (Deletion(message_id="a"), "taken back"),
        (Template(name="a"), "no templates"),
        (Receipt(message_id="a"), "no receipts"),
        (Edit(message_id="a", content=Text(text="b")), "cannot be edited"),
        (Media(media=MediaKind.VIDEO, media_id="1"), "there is no video"),
    ],
)
def test_what_nothing_comes_close_to_is_refused(content, reason):
    """What a channel has nothing like is refused, with the channel's name."""
    with pytest.raises(Unsendable, match=f"Bare: .*{reason}"):
        fit(content, BARE)


# --- what it becomes -----------------------------------------------------------------------------


def test_a_menu_with_a_file_and_no_form_for_it_goes_in_two_messages():
    """The file goes first, the menu after it in the form that it then fits."""
    menu = Menu("Pick", media=PICTURE, options=[YES])
    assert fit(menu, FULL).contents == (PICTURE, attrs.evolve(menu, media=None))


def test_a_caption_that_is_too_long_follows_its_file():
    """The file goes without its caption, which follows as a text."""
    media = Media(media=MediaKind.IMAGE, media_id="1", caption="abc def")
    assert fit(media, FULL).contents == (
        attrs.evolve(media, caption=None),
        Text(text="abc def"),
    )


def test_cards_that_cannot_stand_side_by_side_go_one_after_the_other():
    """The text above them first, then each card as the menu, the file or the text that it is."""
    cards = [
        Menu("One", options=[YES]),
        Menu("Two", header="Top", options=[]),
        Menu("Three", media=PICTURE, options=[]),
    ]
    assert fit(Carousel(cards, text="Look"), FULL).contents == (
        Text(text="Look"),
        Menu("One", options=[YES]),
        Text(text="Top\n\nTwo"),
        attrs.evolve(PICTURE, caption="Three"),
    )


def test_the_text_above_the_cards_goes_alone_where_a_channel_shows_none():
    """A carousel without room for a text keeps its cards together."""
    form = CarouselForm(cards=3, forms=(CARDS,))
    fitted = fit(
        Carousel([Menu("One", options=[YES]), Menu("Two", options=[NO])], text="Look"),
        attrs.evolve(FULL, carousel=form),
    )
    assert fitted.contents == (
        Text(text="Look"),
        Carousel([Menu("One", options=[YES]), Menu("Two", options=[NO])]),
    )


def test_contacts_beyond_the_limit_go_in_several_messages():
    """As many as a message takes go together."""
    cards = [ContactCard(name=name) for name in "abc"]
    assert fit(Contacts(contacts=tuple(cards)), FULL).contents == (
        Contacts(contacts=tuple(cards[:2])),
        Contacts(contacts=tuple(cards[2:])),
    )


# --- groups --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "loss"),
    [
        (PICTURE, "the image is sent as a link: there is no image"),
        (Menu("Pick", options=[YES, NO]), "the menu becomes a numbered text"),
        (Location(latitude=1, longitude=2), "the location is sent as a text with a link"),
        (Contacts(contacts=(ContactCard(name="Ana"),)), "the contacts are sent as a text"),
    ],
)
def test_a_group_takes_as_a_text_what_it_does_not_take_as_it_is(content, loss):
    """It is one message, the journal keeps what was meant, and strict refuses it."""
    roomy = attrs.evolve(FULL, text=200)
    message = outbound(content, channel="full", group="G")
    assert parts(message, roomy) == (message,)
    with pytest.raises(Unsendable, match=f"Full: {loss}"):
        parts(message, roomy, strict=True)


def test_a_group_takes_what_is_declared_and_no_more():
    """What comes to nothing that a group takes is refused before it is sent."""
    assert parts(outbound(Text(text="Hi"), channel="full", group="G"), FULL)
    with pytest.raises(Unsendable, match="Full: a group takes no reaction"):
        parts(outbound(Reaction(message_id="a", emoji="x"), channel="full", group="G"), FULL)
    with pytest.raises(Unsendable, match="Bare: nothing can be sent to a group there"):
        parts(outbound(Text(text="Hi"), channel="bare", group="G"), BARE)
