"""Real PostgreSQL clusters for the tests, each in a folder of its own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.bridge.journal.nats_servers import free_port

_USER = "postgres"
_POOLED_PORT = 6432  # which only names a socket in a folder


def _programs() -> Path:
    """Return the folder of the newest server that is installed; Debian puts each in its own."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3])
    )
    if found:
        return found[-1].parent
    postgres = shutil.which("postgres")
    if postgres is None:
        raise RuntimeError("PostgreSQL is missing: apt-get install postgresql")
    return Path(postgres).parent


def _as_user() -> tuple[str, ...]:
    """Return what runs a program as the server's user, where root runs the tests."""
    rest = (f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups")
    return ("setpriv", *rest) if os.geteuid() == 0 else ()


def schema_of(place: Path) -> str:
    """Return a schema of its own for each test's folder."""
    return f"t{hashlib.sha1(str(place).encode(), usedforsecurity=False).hexdigest()[:16]}"


class PostgresServer:
    """A cluster that may be stopped in any way, and started again with what it stored.

    The server refuses to run as root, so that root runs it as another user. Without `synced`
    nothing is as durable as it should be, and everything is faster.
    """

    def __init__(self, *, synced: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bridge-pg-", dir="/tmp"))
        self.port = free_port()
        self.dsn = f"host=127.0.0.1 port={self.port} user={_USER} dbname=postgres"
        self._data = self.folder / "data"
        if os.geteuid() == 0:
            shutil.chown(self.folder, _USER)
        sync = "on" if synced else "off"
        self._make_cluster()
        with (self._data / "postgresql.conf").open("a") as config:
            config.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\n"
                f"unix_socket_directories = '{self.folder}'\nmax_connections = 60\n"
                f"fsync = {sync}\nfull_page_writes = {sync}\nrestart_after_crash = on\n"
            )

    def _make_cluster(self) -> None:
        """Copy the first cluster of a run of tests: `initdb` works for a second."""
        shared = Path(os.environ.get("BRIDGE_TESTS_SHARED", self.folder))
        with (shared / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (shared / "data").exists():
                subprocess.run(["cp", "-a", shared / "data", self._data], check=True)
                return
            rest = ("-U", _USER, "-A", "trust", "--no-sync", "-E", "UTF8")
            self.run("initdb", "-D", self._data, *rest)
            if shared != self.folder:
                subprocess.run(["cp", "-a", self._data, shared / "data"], check=True)

    @classmethod
    def standby(cls, primary: PostgresServer, *, address: str = "127.0.0.1") -> Self:
        """Make a standby without which the primary acknowledges nothing.

        At another `address` than the primary's it has the same port.
        """
        server = cls.__new__(cls)
        server.folder = Path(tempfile.mkdtemp(prefix="bridge-pg-", dir="/tmp"))
        server.port = free_port() if address in primary.dsn else primary.port
        server.dsn = primary.dsn.replace("127.0.0.1", address).replace(
            str(primary.port), str(server.port)
        )
        server._data = server.folder / "data"
        if os.geteuid() == 0:
            shutil.chown(server.folder, _USER)
        copied = f"{primary.dsn} application_name=standby"
        server.run("pg_basebackup", "-D", server._data, "-R", "-c", "fast", "-d", copied)
        with (server._data / "postgresql.conf").open("a") as config:
            config.write(
                f"listen_addresses = '{address}'\nport = {server.port}\n"
                f"unix_socket_directories = '{server.folder}'\nsynchronous_standby_names = ''\n"
            )
        server.start()
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.sql("SELECT pg_reload_conf()")
        return server

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("pg_ctl", "-D", self._data, "-w", "-s", "promote")

    def run(self, program: str, *arguments: object) -> str:
        """Run one of the server's programs as the server's user; return what it writes."""
        result = subprocess.run(
            [*_as_user(), str(_programs() / program), *map(str, arguments)],
            cwd=self.folder,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode:
            raise RuntimeError(f"{program}: {result.stdout}")
        return result.stdout

    def start(self) -> None:
        """Start, and return when clients are let in."""
        self.run("pg_ctl", "-D", self._data, "-w", "-s", "-l", self.folder / "log", "start")

    def stop(self, how: str = "fast") -> None:
        """Stop: "immediate" is as if the power had gone."""
        self.run("pg_ctl", "-D", self._data, "-w", "-s", "-m", how, "stop")

    def restart(self) -> None:
        """Start a server that has stopped by itself, or is about to."""
        with suppress(RuntimeError):
            self.stop("immediate")
        self.start()

    def ask_for_password(self, role: str) -> None:
        """Let nobody in as a role without its password."""
        rules = self._data / "pg_hba.conf"
        rule = f"host all {role} 127.0.0.1/32 scram-sha-256\n"
        rules.write_text(rule + rules.read_text())
        self.sql("SELECT pg_reload_conf()")

    def sql(self, statement: str) -> str:
        """Run a statement and return what it gives, a line a row."""
        return self.run("psql", "-X", "-A", "-t", "-d", self.dsn, "-c", statement).strip()

    @contextmanager
    def pooled(self) -> Iterator[str]:
        """Run pgbouncer in transaction mode before the server; give its connection string.

        It listens on a socket in the cluster's folder, which nobody else can have taken.
        """
        config, log = self.folder / "pgbouncer.ini", self.folder / "pgbouncer.log"
        config.write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={self.port} user={_USER}\n"
            f"[pgbouncer]\nlisten_addr =\nlisten_port = {_POOLED_PORT}\nauth_type = any\n"
            f"pool_mode = transaction\ndefault_pool_size = 5\nunix_socket_dir = {self.folder}\n"
        )
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise RuntimeError("pgbouncer is missing: apt-get install pgbouncer")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*_as_user(), program, config], stdout=output, stderr=subprocess.STDOUT
            )
        with process:
            try:
                self._until_pooled(process)
                yield f"host={self.folder} port={_POOLED_PORT} user={_USER} dbname=postgres"
                if process.poll() is not None:
                    raise RuntimeError(f"pgbouncer has ended by itself: {log.read_text()}")
            finally:
                process.terminate()

    def _until_pooled(self, process: subprocess.Popen[bytes]) -> None:
        """Return when pgbouncer takes connections."""
        end = time.monotonic() + 15
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            while probe.connect_ex(str(self.folder / f".s.PGSQL.{_POOLED_PORT}")):
                if process.poll() is not None or time.monotonic() > end:
                    log = (self.folder / "pgbouncer.log").read_text()
                    raise RuntimeError(f"pgbouncer does not start: {log}")
                time.sleep(0.02)

    def __enter__(self) -> Self:
        """Start, where it does not run."""
        if not (self._data / "postmaster.pid").exists():
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and remove everything."""
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)
