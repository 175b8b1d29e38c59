"""What operators talk to: a listener of its own beside the one for callbacks.

`listener` holds the routes, `guard` decides who comes in, `questions` reads what is asked,
`answers` writes what is said.
"""

from bridge.ops.admin.listener import application, listening

__all__ = ["application", "listening"]
