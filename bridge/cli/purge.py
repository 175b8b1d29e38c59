"""`bridge purge`: everything about one person, gone."""

from __future__ import annotations

import re
from typing import Final

from bridge.cli.client import connect
from bridge.cli.options import ServerConfig, Yes, refuse_masked
from bridge.cli.terminal import Exit, UsageError, confirmed, counted, say
from bridge.model.masking import mask_phone

_PAGE: Final = 1000
# As it is dialled within a country: with a leading zero, or in groups and without a plus.
_LOCAL: Final = re.compile(r"\(?0[\d ()/.-]*|[\d(]+[ ()/.-][\d ()/.-]*", re.ASCII)
_LEFT: Final = "what others have said of the person stays, such as contact cards"


def purge(
    *,
    subject: str,
    yes: Yes = False,
    config: ServerConfig = None,
) -> int:
    """Erase every event about one person, for good.

    The state that subscribers keep of the person's conversations is erased with them. Only the keys
    of the events stay known, so that a provider's late retry brings nothing back. Messages of
    others about the person stay, such as a contact card that they passed on.

    Example: `bridge purge --subject +6281519140327`

    Parameters
    ----------
    subject
        The phone number with its country's code, or the user id.
    """
    refuse_masked(subject)
    if _LOCAL.fullmatch(subject):
        raise UsageError(f"{mask_phone(subject)} has no country's code: write it as +62…")
    client = connect(config)
    if not yes:
        pages = client.pages("/events", party=subject, limit=_PAGE)
        known = counted(sum(len(page["entries"]) for page in pages), "event")
        question = f"Erase everything about {mask_phone(subject)} for good ({known} so far)?"
        if not confirmed(question):
            return Exit.FAILURE
    erased = client.post("/purge", subject=subject)["erased"]
    say(f"erased {counted(erased, 'event')}; {_LEFT}")
    return Exit.OK
