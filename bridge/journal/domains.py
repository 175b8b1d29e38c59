"""Trust domains for events of before: each goes into the domain that has its adapter's name."""

from __future__ import annotations

from typing import Any, Final

from bridge.journal.query import JOINED

_SPOOLED: Final = "spooled"  # an event of the spool's carries another one

TO_BE_MOVED: Final = (
    "is of a release before trust domains: what it knows would come out again. Write it out with "
    "that release (`bridge export`), and take it with `bridge import` into a new one"
)
"""What is said of a journal that is not moved into domains where it is."""


def move_fields(fields: dict[str, Any]) -> None:
    """Move the fields of an event, as its JSON has them, into a domain, unless they have one."""
    if "domain" in fields:
        return
    domain = fields["domain"] = fields["source"]
    fields["key"] = f"{domain}/{fields['key']}"
    if "completes" in fields:
        fields["completes"] = f"{domain}/{fields['completes']}"
    if "conversation" in fields:
        fields["conversation"]["id"] = f"{domain}/{fields['conversation']['id']}"
    raw = fields.get("raw")
    if fields.get("topic") == JOINED and type(raw) is dict and raw.keys() == {"from", "to"}:
        ends, goes_on = (f"{domain}/{raw[end]}" for end in ("from", "to"))
        fields["raw"] = fields["details"] = {"from": ends, "to": goes_on}
        fields["key"] = f"{domain}/notice/{fields['channel']}/{JOINED}/{ends}/{goes_on}"
    elif fields["channel"] == _SPOOLED and type(raw) is dict:
        move_fields(raw)
