"""The journal of several machines: one stream of NATS JetStream, any number of processes."""

from bridge.journal.nats.journal import NatsJournal

__all__ = ["NatsJournal"]
