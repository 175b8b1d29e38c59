"""What RCS for Business carries, and up to which limits.

https://developers.google.com/business-communications/rcs-business-messaging/guides/build/messages/send
https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/phones.agentMessages
"""

from __future__ import annotations

from typing import Final

import attrs

from bridge.adapter import Act, Capabilities, CarouselForm, MediaForm, MenuForm, Receipts
from bridge.adapters.rcs.wire import CHANNEL
from bridge.model import MediaKind

_FILE: Final = 100 * 1024 * 1024
_DESCRIPTION: Final = 2000
_ACTS: Final = frozenset(Act)
# A PDF in a card is for one client in one country.
_CARD_FILES: Final = frozenset({MediaKind.IMAGE, MediaKind.VIDEO})

TEXT: Final = 3072
MESSAGE: Final = 250_000  # bytes of a whole AgentMessage

SUGGESTIONS: Final = MenuForm(
    name="suggestions", acts=_ACTS, options=11, title=25, id=2048, text=TEXT
)
CARD: Final = MenuForm(
    name="rich cards",
    acts=_ACTS,
    options=4,
    title=25,
    id=2048,
    text=_DESCRIPTION,
    header=200,
    media=_CARD_FILES,
)
CARD_WITH_SUGGESTIONS: Final = attrs.evolve(CARD, name="rich cards with suggestions", options=11)
CAROUSEL_CARD: Final = attrs.evolve(
    CARD, name="cards of a carousel", needs_options=False, needs_text=False
)

CAPABILITIES: Final = Capabilities(
    channel=CHANNEL,
    title="RCS for Business",
    text=TEXT,
    menus=(SUGGESTIONS, CARD, CARD_WITH_SUGGESTIONS),
    carousel=CarouselForm(cards=10, forms=(CAROUSEL_CARD,)),
    media={
        # With a caption, a picture or a film becomes a rich card.
        MediaKind.IMAGE: MediaForm(
            caption=_DESCRIPTION,
            mime_types=("image/jpeg", "image/jpg", "image/gif", "image/png"),
            size=_FILE,
            by_id=True,
        ),
        MediaKind.VIDEO: MediaForm(
            caption=_DESCRIPTION,
            mime_types=(
                "video/h263",
                "video/m4v",
                "video/mp4",
                "video/mpeg",
                "video/mpeg4",
                "video/webm",
            ),
            size=_FILE,
            by_id=True,
        ),
        MediaKind.AUDIO: MediaForm(
            mime_types=(
                "audio/aac",
                "audio/mp3",
                "audio/mpeg",
                "audio/mpg",
                "audio/mp4",
                "audio/mp4-latm",
                "audio/3gpp",
                "application/ogg",
            ),
            size=_FILE,
            by_id=True,
        ),
        MediaKind.DOCUMENT: MediaForm(mime_types=("application/pdf",), size=_FILE, by_id=True),
    },
    deletion=True,
    receipts=Receipts.APART,
    repeatable=True,
    echoes=True,
)
