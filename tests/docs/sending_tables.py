"""Generate the tables of docs/sending.md from what the senders declare.

`python -m tests.docs.sending_tables` writes them into the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bridge.adapter import Capabilities, Remedy
from bridge.adapter.capabilities import rows
from bridge.adapters.incs import sending as incs
from bridge.adapters.incs.capabilities import CHANNELS
from bridge.adapters.rcs import refusals as rcs
from bridge.adapters.rcs.capabilities import CAPABILITIES as RCS
from bridge.adapters.whatsapp import refusals as whatsapp
from bridge.adapters.whatsapp.capabilities import CAPABILITIES as WHATSAPP

PAGE = Path(__file__).parents[2] / "docs" / "sending.md"
SENDERS: tuple[Capabilities, ...] = (WHATSAPP, RCS, *CHANNELS.values())


def table(*lines: Iterable[str]) -> str:
    """Return a Markdown table; the first line is its head."""
    head, *rest = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rest))


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


TABLES = {
    "matrix": matrix,
    "whatsapp": lambda: remedies(whatsapp.table()),
    "rcs": lambda: remedies(rcs.table()),
    "incs": lambda: remedies(incs.table()),
    "sources": lambda: "\n".join(
        f"- {one.title}: {', '.join(f'<{url}>' for url in one.sources)}" for one in SENDERS
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
