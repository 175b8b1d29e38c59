"""The bridge inside an aiohttp application of yours.

Run it with `python examples/aiohttp_app.py`, and in a second terminal
`bridge trigger --config config.example.toml whatsapp-text`.
"""

from pathlib import Path

from aiohttp import web

from bridge import Bridge, Message, Text

CONFIG = Path(__file__).parent.parent / "config.example.toml"


async def index(_: web.Request) -> web.Response:
    """Answer for the application's own page."""
    return web.Response(text="This application does other things too.\n")


def make_app(config: Path = CONFIG) -> web.Application:
    """Make the application, with the bridge's routes and its life inside."""
    bridge = Bridge.from_toml(config)

    @bridge.on(Message, content=Text, direction="inbound", name="greeter")
    async def greet(message: Message[Text]) -> None:
        print(f"{message.conversation.id} said something in {len(message.content.text)} letters")

    app = web.Application()
    app.router.add_get("/", index)
    bridge.mount(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080, access_log=None)
