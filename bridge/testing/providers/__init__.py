"""Simulated providers on loopback: real HTTP, with the trouble that real providers make.

::

    async with SimulatedProvider() as provider:
        settings = WhatsAppSettings(app_secrets="s", access_token="t", base_url=provider.url)
        adapter = WhatsApp("whatsapp", settings)
        provider.play(adapter, callbacks_to="http://127.0.0.1:8080/callbacks/whatsapp")
        await provider.say("+16505551234", Text(text="hello"))   # a user writes
        ...                                                      # a bot answers
        assert [arrived.body for arrived in provider.arrived] == [...]

What a provider checks, answers and reports is its adapter's own knowledge
(`bridge.adapter.simulation`); here are the sockets.
"""

from bridge.testing.providers.callbacks import Callbacks
from bridge.testing.providers.server import SimulatedProvider, Trouble

__all__ = ["Callbacks", "SimulatedProvider", "Trouble"]
