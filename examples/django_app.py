"""The bridge in a Django project, here one of a single file.

In a project of yours the lines about the bridge go into `asgi.py`. Beside the `config.toml` that
`bridge init --adapter incs` writes, run it with
`uvicorn django_app:application --app-dir examples`, and in a second terminal
`bridge trigger whatsapp-text --url http://127.0.0.1:8000`.
Its journal is the SQLite file that the configuration names, so one process has it: for several
workers see `docs/embed.md`.
"""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from bridge import Bridge, Message, Text

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], LOGGING_CONFIG=None)
bridge = Bridge.from_toml(os.environ.get("BRIDGE_CONFIG", "config.toml"))
lengths: list[int] = []


@bridge.on(Message, content=Text, direction="inbound", name="counter")
def count(message: Message[Text]) -> None:
    """Do what the project is there for; a plain function runs in a thread, as the ORM wants."""
    lengths.append(len(message.content.text))


def index(_: HttpRequest) -> JsonResponse:
    """Answer for the project's own page."""
    return JsonResponse({"messages": len(lengths)})


urlpatterns = [path("", index)]
application = bridge.asgi(get_asgi_application())
