"""A receiver of `use = "webhook"`, in any language: verify, and answer with 2xx.

Run it with `WEBHOOK_SECRET=… python examples/webhook_receiver.py`, with the secret of the
subscriber's table, whose `url` is then "http://127.0.0.1:9000/".
"""

import os

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])


async def receive(request: web.Request) -> web.Response:
    """Take one event: `id` is its key, the same for each repetition; `data` the event itself."""
    try:
        event = webhook.verify(await request.read(), dict(request.headers))
    except WebhookVerificationError:
        return web.Response(status=401)
    print(event["type"], event["id"])
    return web.Response(status=204)


app = web.Application()
app.router.add_post("/", receive)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "9000")), access_log=None)
