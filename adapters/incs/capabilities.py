"""What INCS sends on WhatsApp, RCS and Viber: less than each channel could carry.

https://document.infin8linx.com/books/incs-messages-api
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs

from bridge.adapter import Capabilities, MediaForm, Window
from bridge.adapters.rcs import capabilities as rcs
from bridge.adapters.whatsapp import capabilities as whatsapp
from bridge.model import MediaKind

WINDOWS: Final = {
    "whatsapp": whatsapp.WINDOW,
    "rcs": Window(open=timedelta(hours=24)),  # .../page/rcs, "ordinary messages"
}
"""For how long after a user's message a message without a template may go."""

_VIBER_FILE: Final = 200 * 1024 * 1024

VIBER: Final = "viber"

# https://document.infin8linx.com/books/incs-messages-api/page/whatsapp-V4j: Meta's interactive
# objects, and files by link
_WHATSAPP: Final = Capabilities(
    channel="whatsapp",
    title="INCS, WhatsApp",
    text=whatsapp.TEXT,
    menus=whatsapp.MENUS,
    carousel=whatsapp.CAROUSEL,
    media={
        kind: attrs.evolve(whatsapp.MEDIA[kind], by_id=False)
        for kind in (MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO, MediaKind.DOCUMENT)
    },
    templates="positional parameters, header file, buttons; goes without its language",
    copies=True,
)

# https://document.infin8linx.com/books/incs-messages-api/page/rcs: suggestions in templates only
_RCS: Final = Capabilities(
    channel="rcs",
    title="INCS, RCS",
    text=rcs.TEXT,
    media={
        kind: attrs.evolve(rcs.CAPABILITIES.media[kind], caption=0, by_id=False)
        for kind in (MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.DOCUMENT)
    },
    templates="named parameters, all of them",
    copies=True,
)

# https://document.infin8linx.com/books/incs-messages-api/page/viber
_VIBER: Final = Capabilities(
    channel=VIBER,
    title="INCS, Viber",
    text=1000,
    media={
        MediaKind.IMAGE: MediaForm(
            mime_types=("image/png", "image/jpeg", "image/jpg", "image/gif"), size=_VIBER_FILE
        ),
        MediaKind.VIDEO: MediaForm(mime_types=("video/mp4",), size=_VIBER_FILE),
        MediaKind.DOCUMENT: MediaForm(
            mime_types=(
                "application/msword",
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                "application/vnd.ms-excel",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                "text/csv",
                "application/pdf",
            ),
            size=_VIBER_FILE,
        ),
    },
    templates="`otp` alone, with `code` and `code_expiration_minutes`",
    copies=True,
)

CHANNELS: Final = {one.channel: one for one in (_WHATSAPP, _RCS, _VIBER)}
