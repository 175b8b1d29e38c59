"""What WhatsApp carries, and up to which limits; also what gateways to WhatsApp go by.

https://developers.facebook.com/documentation/business-messaging/whatsapp, where `.../` begins.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from bridge.adapter import (
    Act,
    Capabilities,
    CarouselForm,
    MediaForm,
    MenuForm,
    Pace,
    Receipts,
    Window,
)
from bridge.adapters.whatsapp.wire import CHANNEL
from bridge.model import Media, MediaKind, Native, Template, Text

_MIB: Final = 1024 * 1024

_HEADER_FILES: Final = frozenset({MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.DOCUMENT})
_CARD_FILES: Final = frozenset({MediaKind.IMAGE, MediaKind.VIDEO})

# .../messages/interactive-reply-buttons-messages
REPLY_BUTTONS: Final = MenuForm(
    name="reply buttons",
    options=3,
    title=20,
    id=256,
    text=1024,
    header=60,
    footer=60,
    media=_HEADER_FILES,
    one_header=True,
    unique_titles=True,
)
# .../messages/interactive-list-messages
LIST: Final = MenuForm(
    name="lists",
    options=10,
    title=24,
    id=200,
    description=72,
    sections=10,
    section=24,
    text=4096,
    header=60,
    footer=60,
    button=20,
)
# .../messages/interactive-cta-url-messages
LINK_BUTTON: Final = MenuForm(
    name="link buttons",
    acts=frozenset({Act.URL}),
    options=1,
    title=20,
    text=1024,
    header=60,
    footer=60,
    media=_HEADER_FILES,
    one_header=True,
)
# .../messages/interactive-media-carousel-messages; that two replies are the most is what
# gateways document, Meta says "one or more".
CARD_REPLIES: Final = MenuForm(
    name="cards with replies",
    options=2,
    title=20,
    id=256,
    text=160,
    needs_text=False,
    media=_CARD_FILES,
    needs_media=True,
    unique_titles=True,
)
CARD_LINK: Final = MenuForm(
    name="cards with a link",
    acts=frozenset({Act.URL}),
    options=1,
    title=20,
    text=160,
    needs_text=False,
    media=_CARD_FILES,
    needs_media=True,
)

MENUS: Final = (REPLY_BUTTONS, LIST, LINK_BUTTON)
CAROUSEL: Final = CarouselForm(
    cards=10, text=1024, needs_text=True, forms=(CARD_REPLIES, CARD_LINK), alike=True
)

TEXT: Final = 4096  # .../reference/whatsapp-business-phone-number/message-api
_CAPTION: Final = 1024  # .../messages/image-messages
_OGG: Final = "audio/ogg"

# .../messages/audio-messages, .../messages/sticker-messages, and their like
MEDIA: Final = {
    MediaKind.IMAGE: MediaForm(
        caption=_CAPTION, mime_types=("image/jpeg", "image/png"), size=5 * _MIB, by_id=True
    ),
    MediaKind.AUDIO: MediaForm(
        mime_types=("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", _OGG),
        size=16 * _MIB,
        by_id=True,
    ),
    MediaKind.VOICE: MediaForm(mime_types=(_OGG,), size=16 * _MIB, by_id=True),
    MediaKind.VIDEO: MediaForm(
        caption=_CAPTION, mime_types=("video/mp4", "video/3gpp"), size=16 * _MIB, by_id=True
    ),
    MediaKind.DOCUMENT: MediaForm(caption=_CAPTION, size=100 * _MIB, by_id=True),
    MediaKind.STICKER: MediaForm(mime_types=("image/webp",), size=500 * 1024, by_id=True),
}

# .../messages/send-messages#customer-service-windows. The 72 hours after an advertisement are those
# of a price: "if the customer service window closes, you will only be able to send template
# messages" (.../pricing#free-entry-point-windows).
WINDOW: Final = Window(open=timedelta(hours=24))

CAPABILITIES: Final = Capabilities(
    channel=CHANNEL,
    title="WhatsApp Cloud API",
    text=TEXT,
    menus=MENUS,
    carousel=CAROUSEL,
    media=MEDIA,
    location=True,
    contacts=257,
    reaction=True,
    templates="named or positional parameters, header file, buttons; needs its language",
    receipts=Receipts.TOGETHER,
    quote=True,
    # .../groups: no interactive messages, and none that is marked as read
    groups=frozenset({Text.kind, Media.kind, Template.kind, Native.kind}),
    user_ids=True,
    echoes=True,
    # .../throughput, and the pair rate limit of .../about-the-platform
    pace=Pace(rate=80.0, pair_every=6.0, pair_burst=45),
)
