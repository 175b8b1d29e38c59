"""Generate the tables of docs/sending.md from what the senders declare.

`python -m tests.docs.sending_tables` writes them into the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bridge.adapter import Capabilities, Remedy
from bridge.adapter.capabilities import Act, MediaForm, MenuForm, Pace, Receipts
from bridge.adapters.incs import sending as incs
from bridge.adapters.incs.capabilities import CHANNELS
from bridge.adapters.rcs import refusals as rcs
from bridge.adapters.rcs.capabilities import CAPABILITIES as RCS
from bridge.adapters.whatsapp import refusals as whatsapp
from bridge.adapters.whatsapp.capabilities import CAPABILITIES as WHATSAPP
from bridge.model import MediaKind

PAGE = Path(__file__).parents[2] / "docs" / "sending.md"
MANY_TYPES = 5
META_DOCS = "https://developers.facebook.com/documentation/business-messaging/whatsapp"
GOOGLE_DOCS = "https://developers.google.com/business-communications/rcs-business-messaging"
INCS_DOCS = "https://document.infin8linx.com/books/incs-messages-api/page"
SOURCES = {
    "WhatsApp Cloud API": (
        f"{META_DOCS}/messages/text-messages",
        f"{META_DOCS}/messages/interactive-list-messages",
        f"{META_DOCS}/messages/interactive-media-carousel-messages",
        f"{META_DOCS}/typing-indicators",
        f"{META_DOCS}/business-scoped-user-ids",
    ),
    "RCS for Business": (
        f"{GOOGLE_DOCS}/guides/build/messages/send",
        f"{GOOGLE_DOCS}/guides/build/events/send-events",
        f"{GOOGLE_DOCS}/reference/rest/v1/phones.agentMessages",
    ),
    "INCS, WhatsApp": (f"{INCS_DOCS}/whatsapp-V4j",),
    "INCS, RCS": (f"{INCS_DOCS}/rcs",),
    "INCS, Viber": (f"{INCS_DOCS}/viber",),
}
"""The pages of each provider's documentation that say what a channel carries."""

SENDERS: tuple[Capabilities, ...] = (WHATSAPP, RCS, *CHANNELS.values())


def table(*lines: Iterable[str]) -> str:
    """Return a Markdown table; the first line is its head."""
    head, *rest = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rest))


def rows(capabilities: Capabilities) -> dict[str, str]:
    """Return what a channel carries, one row a content, in words for a table."""
    words = {
        "text": f"{capabilities.text} characters",
        **{f"media: {kind}": media_in_words(capabilities.media.get(kind)) for kind in MediaKind},
        "location": yes(capabilities.location, "as a text with a link"),
        "contacts": f"up to {capabilities.contacts}" if capabilities.contacts else "as a text",
        "menu": ", ".join(map(menu_in_words, capabilities.menus)) or "as a numbered text",
        "carousel": "the cards one after the other",
        "template": capabilities.templates or "no",
        "reaction": yes(capabilities.reaction),
        "receipt": {
            Receipts.NONE: "no",
            Receipts.TOGETHER: "read, and typing with it",
            Receipts.APART: "read, typing",
        }[capabilities.receipts],
        "deletion": yes(capabilities.deletion, "no"),
        "native": "yes",
        "quoting": yes(capabilities.quote, "left out"),
        "groups": ", ".join(sorted(capabilities.groups)) or "no",
        "users without a phone": yes(capabilities.user_ids),
        "sent twice, arrives once": yes(capabilities.repeatable),
        "statuses repeat our id": yes(capabilities.echoes),
        "what was sent is told again": yes(capabilities.copies),
        "pace": pace_in_words(capabilities.pace),
    }
    if capabilities.carousel is not None:
        words["carousel"] = f"2 to {capabilities.carousel.cards} cards"
    return words


def media_in_words(form: MediaForm | None) -> str:
    if form is None:
        return "as another kind, else a link"
    types = [mime_type.rpartition("/")[2] for mime_type in form.mime_types]
    pieces = [
        f"{len(types)} types" if len(types) > MANY_TYPES else ", ".join(types),
        "" if form.size is None else f"{form.size / 2**20:.3g} MiB",
        f"caption of {form.caption}" if form.caption else "",
        "by link or id" if form.by_id else "by link",
    ]
    return "; ".join(piece for piece in pieces if piece)


def menu_in_words(form: MenuForm) -> str:
    acts = "" if form.acts == {Act.REPLY} else f" ({', '.join(sorted(form.acts))})"
    return f"{form.options} {form.name} of {form.title}{acts}"


def pace_in_words(pace: Pace) -> str:
    told = [] if pace.rate is None else [f"{pace.rate:g} a second"]
    if pace.pair_every is not None:
        told.append(f"to one user {pace.pair_burst:g}, then one in {pace.pair_every:g} s")
    return "; ".join(told) or "not documented"


def yes(able: bool, otherwise: str = "no") -> str:
    return "yes" if able else otherwise


def matrix() -> str:
    """Return what each channel carries."""
    told = [rows(one) for one in SENDERS]
    return table(
        ["", *(one.title for one in SENDERS)],
        *([name, *(one[name] for one in told)] for name in told[0]),
    )


def remedies(codes: Iterable[tuple[str, Remedy, str]]) -> str:
    """Return the codes of a provider in the order of what to do about them."""
    order = list(Remedy)
    by_remedy = sorted(codes, key=lambda row: order.index(row[1]))
    return table(
        ["code", "remedy", "meaning"],
        *([code, f"`{remedy}`", meaning] for code, remedy, meaning in by_remedy),
    )


def told(codes: Mapping[Any, tuple[Remedy, str]]) -> Iterator[tuple[str, Remedy, str]]:
    """Return every documented code, what to do about it, and what it means."""
    for code, (remedy, meaning) in codes.items():
        yield str(code), remedy, meaning


META = (
    *told(whatsapp.CODES),
    ("200 to 299", Remedy.STOP_ACCOUNT, "the permission is missing or was removed"),
    ("other 132xxx", Remedy.MEND_TEMPLATE, "the template, or what was filled into it"),
)
TABLES = {
    "matrix": matrix,
    "whatsapp": lambda: remedies(META),
    "rcs": lambda: remedies(told(rcs.STATUSES)),
    "incs": lambda: remedies(told(incs.CODES)),
    "sources": lambda: "\n".join(
        f"- {one.title}: {', '.join(f'<{url}>' for url in SOURCES[one.title])}" for one in SENDERS
    ),
}


def generated(page: str) -> str:
    """Return the page with each of its tables as it is now."""
    for name, make in TABLES.items():
        before, start, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        page = f"{before}{start}\n{make()}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text("utf-8")), "utf-8")
