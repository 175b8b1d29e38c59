"""`bridge purge`: everything about one person, gone."""

from __future__ import annotations

from bridge.cli.client import connect
from bridge.cli.options import ServerConfig, Yes, refuse_masked
from bridge.cli.terminal import Exit, confirmed, counted, say
from bridge.model.masking import mask_phone


def purge(
    *,
    subject: str,
    yes: Yes = False,
    config: ServerConfig = None,
) -> int:
    """Erase every event about one person, for good.

    Only the keys of the events stay known, so that a provider's late retry brings nothing back.

    Example: `bridge purge --subject +6281519140327`

    Parameters
    ----------
    subject
        The phone number with its country's code, or the user id.
    """
    refuse_masked(subject)
    client = connect(config)
    if not yes and not confirmed(f"Erase everything about {mask_phone(subject)} for good?"):
        return Exit.FAILURE
    erased = client.post("/purge", subject=subject)["erased"]
    say(f"erased {counted(erased, 'event')}")
    return Exit.OK
