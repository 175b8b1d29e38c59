"""From the journal to one subscriber: lanes, retries, dead letters.

::

    Cursor.read ─► the delivery ─► the subscriber's function, in a task of its own
                        │                             │
                        └ busy ─► lanes, one for each │ conversation
                                    ▲                 │
                                    └ held until due ◄┴ failed ─► dead letter

Entries of a lane are delivered one at a time and in order; lanes never wait for each other.
A function begins as soon as its entry is read. If it ends without waiting, that was all;
otherwise the entry becomes a lane, which collects what comes next in its conversation.

An entry that fails is *held* in the journal until its next try is due, and so is what comes
after it in its lane; meanwhile the cursor moves on. Memory stays bounded: a window of entries
that are read and not settled, a short queue for each lane, a limit on the lanes that wait.

Delivery is at least once: what was given to the function and not yet settled comes again after
a crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.process.lazy import lazily

if TYPE_CHECKING:
    from bridge.delivery.attempt import Attempt, current, delay
    from bridge.delivery.delivery import Delivery
else:  # the console is a part of operators' commands, which deliver nothing
    __getattr__, __dir__ = lazily(__name__, "attempt delivery")

__all__ = ["Attempt", "Delivery", "current", "delay"]
