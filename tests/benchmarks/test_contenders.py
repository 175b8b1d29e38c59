"""Contenders: servers in processes of their own, which share one core."""

from __future__ import annotations

from benchmarks.contenders import Contender, Server, all_running, running
from benchmarks.figures import Faulty
from tests.benchmarks.cores import needs_cores

pytestmark = needs_cores

BARE = Contender(title="bare", program=("benchmarks.servers", "bare"))
OTHER = Contender(title="another", program=("benchmarks.servers", "bare-signed"))
BROKEN = Contender(title="broken", program=("benchmarks.no_such_server",))


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
