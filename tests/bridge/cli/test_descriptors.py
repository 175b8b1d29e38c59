"""`bridge serve` where the system lets a process open few files, of which a connection is one."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from tests.bridge.cli.processes import TOKEN, Served
from tests.callbacks import new_message

CONFIG = f"""\
[server]
max_connections = 300

[admin]
port = ADMIN_PORT

[log]
format = "json"

[adapters.incs]
tokens = ["{TOKEN}"]

[subscribers.crm]
use = "crm:take"
"""

LIMITED = """\
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, {limits})

async def take(event): ...
"""


@pytest.mark.parametrize(
    ("most", "told"), [(200, 1), (1000, 0)], ids=["no more is allowed", "more is allowed"]
)
def test_idle_connections_keep_no_callback_out(tmp_path, most, told):
    """With more of them than there are files at first, a callback is taken all the same."""
    (tmp_path / "crm.py").write_text(LIMITED.format(limits=(150, most)))
    server = Served(tmp_path, CONFIG)
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        place = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        for _ in range(290):
            stack.enter_context(socket.create_connection(place))
        server.post(new_message("a", "85268415026", "hello"))
        assert server.ask("/status")["last_event"] is not None
    assert server.logged("connections, since this process may open 200 files") == told
