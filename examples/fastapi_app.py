"""The bridge in a FastAPI application; in Starlette it is the same two lines.

Beside the `config.toml` that `bridge init --adapter incs` writes, run it with
`uvicorn fastapi_app:app --app-dir examples`, and in a second terminal
`bridge trigger whatsapp-text --url http://127.0.0.1:8000`.
Its journal is the SQLite file that the configuration names, so one process has it: for several
workers see `docs/embed.md`.
"""

import os

from fastapi import FastAPI

from bridge import Bridge, Message, Text

bridge = Bridge.from_toml(os.environ.get("BRIDGE_CONFIG", "config.toml"))
lengths: list[int] = []


@bridge.on(Message, content=Text, direction="inbound", name="counter")
async def count(message: Message[Text]) -> None:
    """Do what the application is there for."""
    lengths.append(len(message.content.text))


app = FastAPI(lifespan=bridge.lifespan)
app.mount("/callbacks", bridge.asgi())


@app.get("/")
async def index() -> dict[str, int]:
    """Answer for the application's own page."""
    return {"messages": len(lengths)}
