"""The operators' HTTP interface, on a listener beside the one for callbacks.

`listener` holds the routes, `guard` checks tokens, `requests` reads and checks parameters and
bodies, `responses` writes JSON, and `following` streams events.
"""

from bridge.ops.admin.listener import application, listening

__all__ = ["application", "listening"]
