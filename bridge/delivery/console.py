"""The built-in subscriber: every event as one readable line.

A line reads: when it happened, what it is, where, who, what it says, its key. Columns are
separated by two spaces and the first three are padded, so that the eye and `awk` find them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final, TextIO, assert_never

from bridge.model import (
    CallPermission,
    Carousel,
    Choice,
    ConsentChange,
    Contacts,
    Content,
    ConversationKind,
    Deletion,
    Direction,
    Edit,
    Event,
    Form,
    Forwarded,
    Handover,
    Location,
    Media,
    Menu,
    Message,
    Native,
    Notice,
    Order,
    Party,
    Reaction,
    Receipt,
    Role,
    Status,
    StatusChange,
    System,
    Template,
    TemplateChange,
    Text,
    Typing,
    Unrecognized,
    Unsupported,
)
from bridge.model.masking import mask_phone, mask_phones_in, mask_text, neutralise
from bridge.process.lazy import later

if TYPE_CHECKING:
    import rich.console as rich_console
    import rich.text as rich_text
else:  # whoever only checks a configuration prints no event
    rich_console, rich_text = later("rich.console"), later("rich.text")

_KIND_WIDTH: Final = 15  # the longest kind, template_change
_PLACE_WIDTH: Final = 14
_INDENT: Final = "  "
_LONGEST: Final = 200  # of one piece of a line; a message may have four thousand characters
_ARROWS: Final = {Direction.INBOUND: "←", Direction.OUTBOUND: "→"}
_STYLES: Final[Mapping[str, str]] = {
    "message": "cyan",
    "status_change": "green",
    "template_change": "magenta",
    "handover": "magenta",
    "unrecognized": "yellow",
}
_TROUBLE: Final = frozenset({Status.FAILED, Status.EXPIRED})


class Console:
    """Print each event as one line; the subscriber that `use = "console"` names.

    In a terminal that is narrower than the line it has several, and the last is the key.

    Phones and texts are masked unless `show_personal_data` is true. No text of a user can break the
    line or act on the terminal. Colours only on a terminal.
    """

    def __init__(self, *, show_personal_data: bool = False, stream: TextIO | None = None) -> None:
        self._describe = _Describer(show_personal_data)
        self._stream = stream
        # The delivery calls plain functions from several threads.
        self._writing = threading.Lock()

    @cached_property
    def _out(self) -> rich_console.Console:
        return rich_console.Console(
            file=sys.stdout if self._stream is None else self._stream,
            soft_wrap=True,
            highlight=False,
            emoji=False,
        )

    def __call__(self, event: Event) -> None:
        """Print the event and flush, so that a reader at the other end of a pipe sees it now."""
        words, key = self._words(event), self._key(event)
        with self._writing:
            if self._out.is_terminal:
                self._out.print(self._fitted(words, key))
            else:
                self._out.file.write(f"{words.plain}{key.plain}\n")
            self._out.file.flush()

    def line(self, event: Event) -> rich_text.Text:
        """Return an event's line with its colours."""
        return self._words(event) + self._key(event)

    def _fitted(self, words: rich_text.Text, key: rich_text.Text) -> rich_text.Text:
        """Return a line, in several where the terminal is narrower; the key is whole in any."""
        width = self._out.width
        if words.cell_len + key.cell_len <= width or not self._out.file.isatty():
            return words + key
        lines = words.wrap(self._out, width - len(_INDENT))
        fitted = rich_text.Text(f"\n{_INDENT}").join(lines)
        return fitted + "\n" + (key if key.cell_len <= width else key[len(_INDENT) :])

    def _key(self, event: Event) -> rich_text.Text:
        return rich_text.Text(f"{_INDENT}{self._plain(self._describe.key(event.key))}", "dim")

    def _words(self, event: Event) -> rich_text.Text:
        trouble = isinstance(event, StatusChange) and event.status in _TROUBLE
        kind_style = "red" if trouble else _STYLES.get(event.kind, "blue")
        line = rich_text.Text()
        line.append(f"{event.occurred_at:%Y-%m-%d %H:%M:%S}Z  ", style="dim")
        line.append(f"{event.kind:<{_KIND_WIDTH}}  ", style=kind_style)
        line.append(f"{self._plain(_place(event)):<{_PLACE_WIDTH}}  ")
        told = self._describe.event(event)
        line.append(self._plain(_joined(told, "(stale)" if event.stale else "")))
        return line

    def _plain(self, text: str) -> str:
        """Make the text safe for a terminal, and writable in the stream's encoding."""
        encoding = self._out.encoding
        safe = neutralise(text)
        return safe.encode(encoding, "backslashreplace").decode(encoding)


def _place(event: Event) -> str:
    if event.account is None:
        return event.channel
    # An account that goes by its phone is recognised by the ends, like any other phone.
    account = mask_phone(event.account) if event.account.startswith("+") else event.account
    return f"{event.channel} {account}"


class _Describer:
    """Says what an event holds, in one line's words, with personal data shown or masked."""

    def __init__(self, show_personal_data: bool) -> None:
        self._shown = show_personal_data

    def key(self, key: str) -> str:
        """Name the event; keys hold phones where a channel's ids are unique per sender only."""
        return key if self._shown else mask_phones_in(key)

    def event(self, event: Event) -> str:
        match event:
            case Message():
                return self._message(event)
            case StatusChange():
                return self._status_change(event)
            case TemplateChange():
                return self._template_change(event)
            case ConsentChange():
                verb = "opted in" if event.granted else "opted out"
                return _joined("←", self._party(event.party), verb, self._word(event.scope, "of "))
            case Handover():
                return self._handover(event)
            case Typing():
                return f"← {self._party(event.party)} is typing"
            case Notice():
                return self._word(event.topic)
            case Unrecognized():
                return _joined(self._word(event.reason), self._word(event.path, "at "))
        return ""

    def _message(self, message: Message) -> str:
        inbound = message.direction is Direction.INBOUND
        return _joined(
            _ARROWS[message.direction],
            self._party(message.sender if inbound else message.recipient),
            "in a group" if message.conversation.kind is ConversationKind.GROUP else "",
            self._content(message.content),
            "in reply" if message.reply_to is not None else "",
            "forwarded" if message.forwarded is not Forwarded.NO else "",
            "from an advertisement" if message.referral is not None else "",
            "(another responder's)" if not message.owned else "",
        )

    def _handover(self, handover: Handover) -> str:
        owner = {True: "ours", False: "another responder's", None: ""}[handover.owned]
        return _joined(
            "←",
            self._party(handover.party),
            self._word(handover.reason) or "handed over",
            f"(now {owner})" if owner else "",
            self._private(handover.metadata),
        )

    def _status_change(self, change: StatusChange) -> str:
        standing = ""
        if change.current is not None and change.current is not change.status:
            standing = f"(now {change.current})"
        elif change.advanced is False:
            standing = "(known already)"
        word = change.status.value
        if change.status is Status.UNKNOWN:
            word = f"unknown {self._word(change.provider_status)}"
        error = ""
        if change.error is not None:
            error = _joined(self._word(change.error.code), self._word(change.error.title))
        party = self._party(change.recipient) if change.recipient is not None else ""
        return _joined("→", party, word, standing, error)

    def _template_change(self, change: TemplateChange) -> str:
        return _joined(
            self._word(change.template_name or change.template_id),
            f"{change.aspect}:",
            self._word(change.value) or "changed",
            self._word(change.previous, "was "),
            self._word(change.reason, "because "),
        )

    def _party(self, party: Party) -> str:
        if party.phone is not None:
            identity = party.phone if self._shown else mask_phone(party.phone)
        elif (user_id := party.user_id or party.parent_user_id) is None:
            identity = "somebody"
        elif self._shown or party.role is not Role.USER:
            identity = self._word(user_id)
        else:
            identity = mask_phone(user_id)
        return _joined(identity, self._private(party.name) if self._shown else "")

    def _content(self, content: Content) -> str:
        match content:
            case Text():
                return f"text {self._private(content.text)}"
            case Media():
                return _joined(
                    content.media.value,
                    self._word(content.mime_type),
                    "" if content.size is None else f"{content.size} bytes",
                    self._private(content.filename),
                    self._private(content.caption),
                )
            case Location():
                place = f"{content.latitude},{content.longitude}" if self._shown else ""
                return _joined("location", place, self._private(content.name))
            case Contacts():
                names = (self._private(card.name) for card in content.contacts)
                return _joined(_counted(len(content.contacts), "contact"), *names)
            case Choice():
                title = content.id if content.title is None else content.title
                return _joined("choice", content.source.value, self._private(title))
            case Form():
                answers = len(content.data or {})
                return _joined("form", self._private(content.name), _counted(answers, "answer"))
            case Reaction():
                if content.emoji is None:
                    return "reaction taken back"
                return f"reaction {self._private(content.emoji)}"
            case Order():
                return _joined(
                    "order", _counted(len(content.items), "item"), self._private(content.text)
                )
            case Template():
                return _joined("template", self._word(content.name), self._word(content.language))
            case Menu():
                options = _counted(len(content.options), "option")
                return _joined("menu", self._private(content.text), options)
            case Carousel():
                return _joined("carousel", _counted(len(content.cards), "card"))
            case Native():
                return "native"
            case Receipt():
                return "receipt, typing" if content.typing else "receipt"
            case Edit():
                return f"edit: {self._content(content.content)}"
            case Deletion():
                return "deletion"
            case System():
                return _joined("system", content.change.value, self._private(content.body))
            case CallPermission():
                answer = "granted" if content.granted else "refused"
                return _joined("call permission", answer, "for good" if content.permanent else "")
            case Unsupported():
                code = content.error.code if content.error is not None else None
                words = (self._word(content.provider_type), self._private(content.text))
                return _joined("unsupported", *words, self._word(code))
            case _:
                assert_never(content)

    def _private(self, text: str | None) -> str:
        """Show what a user wrote, or only how much it is."""
        if text is None:
            return ""
        return f'"{_cut(text)}"' if self._shown else mask_text(text)

    def _word(self, text: str | None, before: str = "") -> str:
        """Show a provider's word, which may name a phone all the same."""
        if not text:
            return ""
        return before + _cut(text if self._shown else mask_phones_in(text))


def _joined(*pieces: str) -> str:
    return " ".join(piece for piece in pieces if piece)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
