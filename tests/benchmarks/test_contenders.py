"""Contenders: servers in processes of their own, which share one core."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.contenders import Contender, Server, all_running, free_port, pinned, running
from benchmarks.figures import Faulty
from tests.benchmarks.cores import needs_cores

pytestmark = needs_cores

BARE = Contender(title="bare", program=("benchmarks.servers", "bare"))
OTHER = Contender(title="another", program=("benchmarks.servers", "bare-signed"))
BROKEN = Contender(title="broken", program=("benchmarks.no_such_server",))


def cores_of(server: Server) -> set[int]:
    """Return on which cores the threads of a server may be."""
    threads = Path(f"/proc/{server._process.pid}/task").iterdir()
    return set().union(*(os.sched_getaffinity(int(thread.name)) for thread in threads))


def test_servers_that_take_turns_share_one_core(tmp_path):
    """Wherever each of them started, all their threads end up on the first core."""
    with all_running([BARE, OTHER], tmp_path) as servers:
        found = [cores_of(server) for server in servers.values()]
    first = min(os.sched_getaffinity(0))
    assert found == [{first}, {first}]


def test_a_server_that_does_not_start_leaves_the_others_alone(tmp_path):
    """It stands among them with what it said last, in the order that was asked for."""
    with all_running([BROKEN, BARE], tmp_path) as servers:
        broken, bare = servers.values()
        assert isinstance(broken, Faulty)
        assert isinstance(bare, Server)
    assert str(broken).startswith("broken did not start: ")
    assert "no_such_server" in str(broken)


def test_nothing_is_left_of_a_server(tmp_path):
    """A server has ended with the block that it ran in, and its folder is gone."""
    with running(BARE, tmp_path) as server:
        assert server.folder.parent == tmp_path
        assert server.started_in > 0
        assert server.handled() == [0]
    assert server._process.returncode is not None
    assert list(tmp_path.iterdir()) == []


def test_a_port_is_given_once():
    """Servers that start at the same time never get the same port, though none listens yet."""
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200


def test_what_keeps_a_command_on_a_core():
    """The second core is the load's, where there is one; with one core, nothing is pinned."""
    cores = sorted(os.sched_getaffinity(0))
    assert pinned(1) == (["taskset", "-c", str(cores[1])] if len(cores) > 1 else [])
