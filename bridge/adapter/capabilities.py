"""What can be sent on a channel, and up to which limits, as its adapter declares it.

`fitting` makes a content fit what is declared here; `docs/sending.md` has it as a table.
Characters are counted as Unicode code points.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, final

import attrs

from bridge.errors import Unsendable
from bridge.model import Carousel, Contacts, Location, Media, MediaKind, Menu, Option

_NO_FILES: Final[frozenset[MediaKind]] = frozenset()


class Act(StrEnum):
    """What happens when a user picks an option."""

    REPLY = "reply"
    URL = "url"
    PHONE = "phone"
    LOCATION = "location"


def act_of(option: Option) -> Act:
    """Return what picking an option does. Raises `Unsendable` where it would do two things."""
    acts = [act for act in Act if act is not Act.REPLY and getattr(option, act) is not None]
    if len(acts) > 1:
        raise Unsendable(f"an option with a {acts[0]} has no {acts[1]} as well")
    return acts[0] if acts else Act.REPLY


@final
@attrs.frozen(kw_only=True)
class MenuForm:
    """One way in which a channel shows a menu; 0 means that it does not show such a thing.

    `options` and `sections` are how many there may be, the other limits are characters. An `id`
    of 0 is not carried. `one_header` means that a header is either words or a file.
    """

    name: str
    acts: frozenset[Act] = frozenset({Act.REPLY})
    options: int
    needs_options: bool = True
    title: int
    id: int = 0
    description: int = 0
    sections: int = 0
    section: int = 0
    text: int
    needs_text: bool = True
    header: int = 0
    footer: int = 0
    button: int = 0
    media: frozenset[MediaKind] = _NO_FILES
    needs_media: bool = False
    one_header: bool = False
    unique_titles: bool = False

    def folded(self, menu: Menu) -> Menu:
        """Return the menu with everything that this form does not show moved into its text."""
        header, footer, before, after = menu.header, menu.footer, [], []
        if header is not None and (
            len(header) > self.header or (self.one_header and menu.media is not None)
        ):
            before.append(header)
            header = None
        if footer is not None and len(footer) > self.footer:
            after.append(footer)
            footer = None
        button = menu.button
        if button is not None and 0 < self.button < len(button):
            after.append(button)
            button = None
        options = menu.options
        longest = max((len(option.description or "") for option in options), default=0)
        if longest > self.description:
            lines = [f"{o.title}: {o.description}" for o in options if o.description]
            after.insert(0, "\n".join(lines))
            options = tuple(attrs.evolve(option, description=None) for option in options)
        if any(option.section is not None for option in options) and not self._shows_sections(menu):
            options = tuple(attrs.evolve(option, section=None) for option in options)
        text = "\n\n".join(piece for piece in (*before, menu.text, *after) if piece)
        return attrs.evolve(
            menu, text=text, options=options, header=header, footer=footer, button=button
        )

    def misfit(self, menu: Menu) -> str | None:
        """Return which limit the menu meets in this form, or None where it fits."""
        options = menu.options
        if self.needs_options and not options:
            return f"no options, which {self.name} need"
        if len(options) > self.options:
            return f"{len(options)} options, of which {self.name} take {self.options}"
        for option in options:
            act = act_of(option)
            if act not in self.acts:
                return f"an option that is a {act}, which {self.name} do not take"
            if self.id and len(option.id) > self.id:
                return f"an option's id of {len(option.id)} characters: {self.name} take {self.id}"
        if self.unique_titles and len({option.title for option in options}) < len(options):
            return f"two options of one title, which {self.name} do not take"
        if menu.media is not None and menu.media.media not in self.media:
            return f"a file ({menu.media.media}), which {self.name} do not show"
        if menu.media is None and self.needs_media:
            return f"no file, which {self.name} need"
        if menu.media is not None and menu.header is not None and self.one_header:
            return f"a header beside a file, which {self.name} do not show"
        if self.needs_text and not menu.text.strip():
            return f"no text, which {self.name} need"
        if not (menu.text.strip() or menu.header or menu.media):
            return f"neither a title, a text nor a file, of which {self.name} need one"
        if any(option.section is not None for option in options) and not self._shows_sections(menu):
            return f"sections that {self.name} do not show"
        lengths = {
            "text": (len(menu.text), self.text),
            "header": (len(menu.header or ""), self.header),
            "footer": (len(menu.footer or ""), self.footer),
            "button": (len(menu.button or "") if self.button else 0, self.button),
            "title": (max((len(o.title) for o in options), default=0), self.title),
            "description": (
                max((len(o.description or "") for o in options), default=0),
                self.description,
            ),
        }
        for noun, (length, limit) in lengths.items():
            if length > limit:
                return f"a {noun} of {length} characters, of which {self.name} take {limit}"
        return None

    def _shows_sections(self, menu: Menu) -> bool:
        names = [option.section for option in menu.options]
        return (
            all(name is not None and 0 < len(name) <= self.section for name in names)
            and len(set(names)) <= self.sections
        )


@final
@attrs.frozen(kw_only=True)
class CarouselForm:
    """How a channel shows cards side by side.

    `text` is how many characters may stand above them. `forms` are the ways in which a card may
    be made; with `alike` all cards are made in one way, with as many options each.
    """

    cards: int
    text: int = 0
    needs_text: bool = False
    forms: tuple[MenuForm, ...]
    alike: bool = False

    def misfit(self, cards: tuple[Menu, ...]) -> str | None:
        """Return which limit the cards meet, or None where they fit."""
        if not 1 < len(cards) <= self.cards:
            return f"{len(cards)} cards, where a carousel takes 2 to {self.cards}"
        used: list[MenuForm] = []
        for card in cards:
            form = next((form for form in self.forms if form.misfit(card) is None), None)
            if form is None:
                return self.forms[0].misfit(card)
            used.append(form)
        kinds = {
            (form.name, len(card.options), card.media and card.media.media)
            for form, card in zip(used, cards, strict=True)
        }
        if self.alike and len(kinds) > 1:
            return "cards of different make, where all need the same kind of file and of options"
        return None


@final
@attrs.frozen(kw_only=True)
class MediaForm:
    """How a channel shows a kind of file; no `mime_types` means any, no `size` any size.

    `caption` is in characters and 0 where there is none. `by_id` takes a file that was uploaded.
    """

    caption: int = 0
    mime_types: tuple[str, ...] = ()
    size: int | None = None
    by_id: bool = False


class Receipts(StrEnum):
    """Which receipts a channel shows: none, both in one request, or each in its own."""

    NONE = "none"
    TOGETHER = "together"
    APART = "apart"


@final
@attrs.frozen(kw_only=True)
class Pace:
    """How fast a provider lets one send; None is no limit that it documents.

    `rate` is how many messages a second an account may send, `pair_every` after how many seconds
    there may be another one to the same user, `pair_burst` how many of those may go at once.
    """

    rate: float | None = None
    pair_every: float | None = None
    pair_burst: float = 1


@final
@attrs.frozen(kw_only=True, eq=False)
class Capabilities:
    """What a sender can send on one channel.

    `menus` stand in the order in which they are tried; where none fits, a menu becomes a numbered
    text. `templates` says in words what templates take, and is empty where there are none. `groups`
    are the kinds of content that a group takes. `user_ids` tells whether a user without a phone is
    reached.
    `repeatable` tells whether a message that is sent twice arrives once, `echoes` whether a
    status repeats our own id, `copies` whether what was sent comes back as a message with its
    content.
    """

    channel: str
    title: str
    text: int
    menus: tuple[MenuForm, ...] = ()
    carousel: CarouselForm | None = None
    media: Mapping[MediaKind, MediaForm]
    location: bool = False
    contacts: int = 0
    reaction: bool = False
    deletion: bool = False
    templates: str = ""
    receipts: Receipts = Receipts.NONE
    quote: bool = False
    groups: frozenset[str] = frozenset()
    user_ids: bool = False
    repeatable: bool = False
    echoes: bool = False
    copies: bool = False
    pace: Pace = Pace()

    def in_a_group(self) -> Capabilities:
        """Return what is left of them in a group; what it does not take may become a text there."""
        return attrs.evolve(
            self,
            menus=self.menus if Menu.kind in self.groups else (),
            carousel=self.carousel if Carousel.kind in self.groups else None,
            media=self.media if Media.kind in self.groups else {},
            location=self.location and Location.kind in self.groups,
            contacts=self.contacts if Contacts.kind in self.groups else 0,
        )
