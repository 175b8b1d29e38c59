"""What a forked child has of the bridge."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading

import pytest
import uvloop

from bridge.process.forked import end_child, end_in, forks, let_go_of
from bridge.process.threads import in_thread


def in_child(check) -> int:
    """Return what a check says in a forked child: 0, or another code if it raised."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = check()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_lets_go_of_sockets_that_stay_open_in_the_parent():
    """What a child writes to a socket goes nowhere; its parent goes on with it."""
    here, there = socket.socketpair()

    def write() -> int:
        os.write(here.fileno(), b"child")
        return 0

    with here, there:
        with forks.letting_go(lambda: let_go_of([here.fileno(), -1])):
            assert in_child(write) == 0
        here.send(b"parent")
        here.shutdown(socket.SHUT_WR)
        assert there.recv(100) == b"parent"
        assert there.recv(100) == b""


def test_only_what_is_still_open_is_let_go_of_and_a_failure_stops_nothing():
    """Who has closed has nothing to let go of, and one that fails keeps no other from it."""
    done = []

    def fails():
        raise OSError

    with forks.letting_go(lambda: done.append("closed")):
        pass
    with forks.letting_go(fails), forks.letting_go(lambda: done.append("open")):
        assert in_child(lambda: 0 if done == ["open"] else 1) == 0


def test_a_child_knows_that_it_is_one():
    """The count of forks differs in a child, and stays as it was in the parent."""
    before = forks.count
    assert in_child(lambda: 0 if forks.count == before + 1 else 1) == 0
    assert forks.count == before


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_child_takes_nothing_out_of_its_parent_s_poll(make):
    """A child that goes on with the event loop ends; what came meanwhile is its parent's."""
    here, there = socket.socketpair()
    is_sent, sends = os.pipe()
    codes = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            os.read(is_sent, 1)
            return
        there.send(b"to the parent")
        os.write(sends, b"!")
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    async def receive() -> bytes:
        loop = asyncio.get_running_loop()
        received = loop.create_future()
        loop.add_reader(here, lambda: received.set_result(here.recv(100)))
        with forks.letting_go(lambda: end_in(loop)):
            loop.call_soon(fork)
            async with asyncio.timeout(30):
                data = await received
        loop.remove_reader(here)
        return data

    with here, there, asyncio.Runner(loop_factory=make) as runner:
        assert runner.run(receive()) == b"to the parent"
    assert codes == [1]
    os.close(is_sent)
    os.close(sends)


async def test_threads_of_our_own_run_though_others_have_filled_or_ended_theirs():
    """Neither functions that never return nor a shutdown of the default executor stop ours."""
    loop, release = asyncio.get_running_loop(), threading.Event()
    blocked = [loop.run_in_executor(None, release.wait) for _ in range(100)]
    assert await in_thread(threading.get_ident) != threading.get_ident()
    release.set()
    await asyncio.gather(*blocked)
    await loop.shutdown_default_executor()
    assert await in_thread(lambda: "done") == "done"


def test_a_child_ends_though_it_can_say_nothing():
    """Where the log hangs and the error output is closed, one that has come back ends all the same.

    Another exit code than that of `end_child` would be of a child that went on.
    """

    def come_back() -> int:
        hanging = logging.Handler()
        hanging.emit = lambda _: threading.Event().wait()
        logging.getLogger().handlers[:] = [hanging]
        os.close(2)
        try:
            end_child("the event loop")
        except OSError:
            return 7

    assert in_child(come_back) == 1
