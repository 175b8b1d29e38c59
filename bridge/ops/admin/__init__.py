"""What operators talk to: a listener of its own beside the one for callbacks.

`listener` holds the routes, `guard` decides who comes in, `requests` reads and checks what they
ask for, and `responses` writes JSON.
"""

from bridge.ops.admin.listener import application, listening

__all__ = ["application", "listening"]
