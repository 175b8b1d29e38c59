"""Make a content fit a channel: split what is too long, and degrade what is not offered.

Everything here goes by what a channel's `Capabilities` declare, so that every sender behaves in
the same way and composes only what fits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias, assert_never, final
from uuid import UUID, uuid5

import attrs

from bridge.adapter.capabilities import Act, Capabilities, MediaForm, Receipts, act_of
from bridge.adapter.texts import checked_url, link_to, menu_as_text, split_text, words_of
from bridge.errors import Unsendable
from bridge.model import (
    CallPermission,
    Carousel,
    Choice,
    Contacts,
    Content,
    ConversationKind,
    Deletion,
    Edit,
    Form,
    Location,
    Media,
    MediaKind,
    Menu,
    Message,
    Native,
    Order,
    Reaction,
    Receipt,
    System,
    Template,
    Text,
    Unsupported,
)

_Fit: TypeAlias = "tuple[list[Content], list[str]]"
"""The contents that go out for one, in order, and what gets lost on the way, in words."""

# Of the ids of parts. Another one would send again what had been sent.
_NAMESPACE: Final = UUID("3e2f27a2-9d0e-5f5e-8a3b-6a1c9f0f5c11")
_PHONE: Final = frozenset("0123456789+*#")


@final
@attrs.frozen
class Fitted:
    """What goes out for a content, in order, and what gets lost on the way, in words."""

    contents: tuple[Content, ...]
    losses: tuple[str, ...]


def parts(
    message: Message, capabilities: Capabilities, *, strict: bool = False
) -> tuple[Message, ...]:
    """Return the messages that go out for one, in order; most often it is the message itself.

    The first keeps the message's id, key and quotation; the ids of the others are derived from
    it, so that a message gives the same parts each time, and sending can be taken up again at the
    part that failed.

    Raises `Unsendable` with the limit in words where the channel cannot carry the message, and
    with `strict` also where it could only carry it degraded or in parts.
    """
    is_group = message.conversation.kind is ConversationKind.GROUP
    fitted = fit(message.content, capabilities.in_a_group() if is_group else capabilities)
    losses = list(fitted.losses)
    if message.reply_to is not None and not capabilities.quote:
        losses.append("the quotation is left out")
    if is_group and not capabilities.groups:
        raise Unsendable(f"{capabilities.title}: nothing can be sent to a group there")
    if is_group and not all(each.kind in capabilities.groups for each in fitted.contents):
        raise Unsendable(f"{capabilities.title}: a group takes no {message.content.kind}")
    if strict and losses:
        raise Unsendable(f"{capabilities.title}: {'; '.join(losses)}")
    if len(fitted.contents) == 1:
        return (message,)
    return tuple(_part(message, n, content) for n, content in enumerate(fitted.contents))


def _part(message: Message, position: int, content: Content) -> Message:
    if position == 0:
        return attrs.evolve(message, content=content)
    number = position + 1
    return attrs.evolve(
        message,
        key=f"{message.key}/{number}",
        message_id=id_of_part(message.message_id, number),
        content=content,
        reply_to=None,
    )


def id_of_part(first: str, number: int) -> str:
    """Return the id of a part, of which the first one has the message's own."""
    return first if number == 1 else str(uuid5(_NAMESPACE, f"{first}/{number}"))


def single(content: Content, capabilities: Capabilities) -> Content:
    """Return the one content that goes out for a content.

    Raises `Unsendable` where the channel cannot carry it, or not in one message.
    """
    contents = fit(content, capabilities).contents
    if len(contents) > 1:
        raise Unsendable(
            f"{capabilities.title}: a {content.kind} that takes {len(contents)} messages;"
            " send its parts"
        )
    return contents[0]


def fit(content: Content, capabilities: Capabilities) -> Fitted:
    """Return what goes out for a content, as close to it as the channel allows.

    Raises `Unsendable` with the limit in words where nothing comes close.
    """
    try:
        contents, losses = _fit(content, capabilities)
    except Unsendable as error:
        raise Unsendable(f"{capabilities.title}: {error.reason}") from None
    return Fitted(tuple(contents), tuple(losses))


def _fit(content: Content, capabilities: Capabilities) -> _Fit:
    match content:
        case Text():
            return _fit_text(content.text, capabilities)
        case Media():
            return _fit_media(content, capabilities)
        case Location():
            return _fit_location(content, capabilities)
        case Contacts():
            return _fit_contacts(content, capabilities)
        case Menu():
            return _fit_menu(content, capabilities)
        case Carousel():
            return _fit_carousel(content, capabilities)
        case Receipt():
            return _fit_receipt(content, capabilities), []
        case Template():
            _need(bool(capabilities.templates), "there are no templates")
            _need(bool(content.name), "a template without a name")
        case Reaction():
            _need(capabilities.reaction, "there are no reactions")
            _need(bool(content.message_id), "a reaction without the message it is put on")
        case Deletion():
            _need(capabilities.deletion, "a message cannot be taken back")
            _need(bool(content.message_id), "a deletion without the message it takes back")
        case Native():
            _need(type(content.body) is dict, "a native body is a JSON object")
        case Edit():
            raise Unsendable("a message cannot be edited")
        case Choice() | Form() | Order() | System() | CallPermission() | Unsupported():
            raise Unsendable(f"a {content.kind} is not for sending")
        case _:
            assert_never(content)
    return [content], []


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Unsendable(otherwise)


# --- text ------------------------------------------------------------------------------------


def _fit_text(text: str, capabilities: Capabilities) -> _Fit:
    _need(bool(text.strip()), "a text without words")
    if len(text) <= capabilities.text:
        return [Text(text=text)], []
    pieces = [piece for piece in split_text(text, capabilities.text) if piece.strip()]
    if len(pieces) == 1:
        return [Text(text=pieces[0])], []
    loss = f"a text of {len(text)} characters goes in {len(pieces)} messages"
    return [Text(text=piece) for piece in pieces], [loss]


# --- files -----------------------------------------------------------------------------------


def _fit_media(media: Media, capabilities: Capabilities) -> _Fit:
    url = checked_url(media.url) if media.url is not None else None
    _need(url is not None or bool(media.media_id), "a file without a url or a media_id")
    misfits = []
    kinds = [media.media, MediaKind.DOCUMENT]
    if media.media is MediaKind.VOICE:
        kinds.insert(1, MediaKind.AUDIO)
    for kind in kinds:
        form = capabilities.media.get(kind)
        if form is None:
            continue
        misfit = _media_misfit(media, form)
        unknown = media.mime_type is None and bool(form.mime_types)
        if kind is MediaKind.DOCUMENT and kind is not media.media and unknown:
            continue
        if misfit is None:
            losses = [] if kind is media.media else [f"the {media.media} is sent as {kind}"]
            contents, lost = _captioned(attrs.evolve(media, media=kind), form, capabilities)
            return contents, losses + lost
        misfits.append(misfit)
    reason = misfits[0] if misfits else f"there is no {media.media}"
    if url is None:
        raise Unsendable(reason)
    words = words_of(media.caption) or words_of(media.filename)
    text = "\n".join(piece for piece in (words, url) if piece)
    contents, lost = _fit_text(text, capabilities)
    return contents, [f"the {media.media} is sent as a link: {reason}", *lost]


def _media_misfit(media: Media, form: MediaForm) -> str | None:
    if media.url is None and not form.by_id:
        return "a file by its id; it needs a url"
    if media.mime_type is not None and form.mime_types:
        mime_type = media.mime_type.partition(";")[0].strip().lower()
        if mime_type not in form.mime_types:
            return f"{mime_type} is none of {', '.join(form.mime_types)}"
    if media.size is not None and form.size is not None and media.size > form.size:
        return f"a file of {media.size} bytes, and {form.size} are possible"
    return None


def _captioned(media: Media, form: MediaForm, capabilities: Capabilities) -> _Fit:
    caption = words_of(media.caption)
    if caption is None:
        return [attrs.evolve(media, caption=None)], []
    if len(caption) <= form.caption:
        return [media], []
    contents, losses = _fit_text(caption, capabilities)
    loss = f"the caption of {len(caption)} characters goes in a message of its own"
    return [attrs.evolve(media, caption=None), *contents], [loss, *losses]


# --- places and people -------------------------------------------------------------------------


def _fit_location(location: Location, capabilities: Capabilities) -> _Fit:
    link = link_to(location)  # also where it is not used: it checks the place
    if capabilities.location:
        return [location], []
    words = "\n".join(piece for piece in (location.name, location.address, link) if piece)
    contents, losses = _fit_text(words, capabilities)
    return contents, ["the location is sent as a text with a link", *losses]


def _fit_contacts(contacts: Contacts, capabilities: Capabilities) -> _Fit:
    cards, most = contacts.contacts, capabilities.contacts
    _need(bool(cards), "no contact at all")
    _need(all(card.name for card in cards), "a contact without a name")
    if not most:
        lines = [
            "\n".join(
                piece
                for piece in (
                    card.name,
                    *(number.phone for number in card.phones),
                    *(address.email for address in card.emails),
                    *(page.url for page in card.urls),
                )
                if piece
            )
            for card in cards
        ]
        contents, losses = _fit_text("\n\n".join(lines), capabilities)
        return contents, ["the contacts are sent as a text", *losses]
    if len(cards) <= most:
        return [contacts], []
    runs = [Contacts(contacts=cards[n : n + most]) for n in range(0, len(cards), most)]
    return [*runs], [f"{len(cards)} contacts go in {len(runs)} messages"]


# --- menus -------------------------------------------------------------------------------------


def _fit_menu(menu: Menu, capabilities: Capabilities) -> _Fit:
    menu = _without_blanks(menu)
    _check_menu(menu, capabilities)
    _need(bool(menu.options), "a menu without options")
    misfits = []
    for form in capabilities.menus:
        misfit = form.misfit(menu)
        if misfit is None:
            return [menu], []
        misfits.append(misfit)
    for form, misfit in zip(capabilities.menus, misfits, strict=True):
        folded = form.folded(menu)
        if form.misfit(folded) is None:
            return [folded], [f"some of the menu moves into its text: {misfit}"]
    if menu.media is not None:
        files, lost = _fit_media(menu.media, capabilities)
        rest, losses = _fit_menu(attrs.evolve(menu, media=None), capabilities)
        return [*files, *rest], ["the menu's file goes in a message of its own", *lost, *losses]
    reason = ": " + ", nor ".join(misfits) if misfits else ""
    contents, losses = _fit_text(menu_as_text(menu), capabilities)
    return contents, [f"the menu becomes a numbered text{reason}", *losses]


def _without_blanks(menu: Menu) -> Menu:
    """Return the menu with None for each optional text that has no words."""
    return attrs.evolve(
        menu,
        header=words_of(menu.header),
        footer=words_of(menu.footer),
        button=words_of(menu.button),
        options=tuple(
            attrs.evolve(one, description=words_of(one.description), section=words_of(one.section))
            for one in menu.options
        ),
    )


def _check_menu(menu: Menu, capabilities: Capabilities) -> None:
    """Raise `Unsendable` for what no form can mend."""
    replies = []
    for option in menu.options:
        _need(bool(option.title.strip()), "an option without a title")
        match act_of(option):
            case Act.REPLY:
                _need(bool(option.id.strip()), "an option without an id")
                _need(option.id == option.id.strip(), "an option's id with spaces at its ends")
                replies.append(option.id)
            case Act.URL:
                checked_url(option.url or "")
            case Act.PHONE:
                number = option.phone or ""
                _need(bool(number) and set(number) <= _PHONE, "a phone that is not digits, +, * #")
            case Act.LOCATION:
                if option.location is not None:
                    link_to(option.location)
    _need(len(set(replies)) == len(replies), "two options of one id")
    if menu.media is not None:
        _fit_media(menu.media, capabilities)


def _fit_carousel(carousel: Carousel, capabilities: Capabilities) -> _Fit:
    _need(bool(carousel.cards), "a carousel without cards")
    carousel = Carousel(
        [_without_blanks(card) for card in carousel.cards], text=words_of(carousel.text)
    )
    for card in carousel.cards:
        _check_menu(card, capabilities)
    reason = "there are no carousels"
    form = capabilities.carousel
    if form is not None:
        text = carousel.text or ""
        misfit = form.misfit(carousel.cards)
        if misfit is None and form.needs_text and not text:
            misfit = "no text above the cards, which a carousel needs"
        if misfit is None and len(text) <= form.text:
            return [carousel], []
        if misfit is None and not form.needs_text:
            above, losses = _fit_text(text, capabilities)
            loss = "the text above the cards goes in a message of its own"
            return [*above, Carousel(carousel.cards)], [loss, *losses]
        reason = misfit or f"a text of {len(text)} characters, where {form.text} are possible"
    pieces: list[Content] = [Text(text=carousel.text)] if carousel.text else []
    pieces += [card if card.options else _without_options(card) for card in carousel.cards]
    return _fit_all(pieces, capabilities, f"the cards go one after the other: {reason}")


def _without_options(card: Menu) -> Content:
    text = "\n\n".join(piece for piece in (card.header, card.text, card.footer) if piece)
    return Text(text=text) if card.media is None else attrs.evolve(card.media, caption=text or None)


def _fit_all(contents: Iterable[Content], capabilities: Capabilities, loss: str) -> _Fit:
    fitted: list[Content] = []
    losses = [loss]
    for content in contents:
        some, lost = _fit(content, capabilities)
        fitted += some
        losses += lost
    return fitted, losses


# --- receipts ------------------------------------------------------------------------------------


def _fit_receipt(receipt: Receipt, capabilities: Capabilities) -> list[Content]:
    form = capabilities.receipts
    _need(form is not Receipts.NONE, "there are no receipts")
    _need(receipt.message_id is not None or receipt.typing, "a receipt that says nothing")
    if form is Receipts.TOGETHER:
        _need(receipt.message_id is not None, "typing is shown with the message that was read")
    elif receipt.message_id is not None and receipt.typing:
        return [Receipt(message_id=receipt.message_id), Receipt(typing=True)]
    return [receipt]
