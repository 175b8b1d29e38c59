"""The settings in `[journal.postgres]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs

from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError, Problem
from bridge.settings import Duration, between, is_loopback, matching

_SCHEMA: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_SAFE_MODES: Final = ("verify-ca", "verify-full")


@attrs.frozen(kw_only=True)
class PostgresSettings:
    """The PostgreSQL database that keeps the journal of any number of processes.

    `dsn` is a connection string of libpq; what it leaves out comes from the environment
    (`PGPASSWORD`, `PGPASSFILE`, `PGSERVICE`). `schema` names the schema, which the bridge makes.
    `partitions` bounds how many processes share the work for one subscriber; a schema that exists
    keeps its own. `connections` bounds the transactions of a process's subscribers, beside
    six connections of the journal itself. While the server is away, callbacks wait for `patience`
    before they are refused. Every `poll` seconds a process shows that it lives.

    `pooler` says that `dsn` leads to a pooler in transaction mode, such as pgbouncer: nothing is
    prepared, and other processes' events are looked for every `poll` seconds instead of announced.
    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
    """

    dsn: Secret = attrs.field(default=Secret("dbname=bridge"))
    schema: str = attrs.field(
        default="bridge",
        validator=matching(_SCHEMA, "small letters, digits and _, not beginning with pg_"),
    )
    partitions: int = attrs.field(default=8, validator=between(1, 256))
    connections: int = attrs.field(default=8, validator=between(1, 100))
    patience: Duration = attrs.field(default=10.0, validator=between(0.1))
    poll: Duration = attrs.field(default=1.0, validator=between(0.01, 5))
    pooler: bool = False

    @dsn.validator
    def _check_dsn(self, *_: object) -> None:
        self.conninfo  # noqa: B018 - it raises

    @property
    def conninfo(self) -> dict[str, str]:
        """Return the connection string's parts, a password among them."""
        from psycopg import ProgrammingError  # noqa: PLC0415 - the extra may be missing
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

        try:
            parts = conninfo_to_dict(self.dsn.reveal())
        except ProgrammingError:  # its text quotes what stands in the string: perhaps a password
            raise ConfigurationError(
                'expected a connection string of libpq such as "postgresql://bridge@db.example.com/'
                'bridge?sslmode=verify-full" or "host=... user=... dbname=..."'
            ) from None
        return {key: str(value) for key, value in parts.items()}

    def doubts(self) -> Iterator[Problem]:
        """Yield a warning where others can read or pretend to be the server."""
        parts = self.conninfo
        hosts = [host for host in parts.get("host", "").split(",") if host]
        elsewhere = [host for host in hosts if not host.startswith("/") and not is_loopback(host)]
        mode = parts.get("sslmode", "prefer")
        if elsewhere and mode not in _SAFE_MODES:
            told = f"sslmode={mode} lets others on the way read or alter events; use verify-full"
            yield Problem("dsn", told)
