"""Callbacks of a provider while strangers flood the server: how long they take, beside quiet."""

from __future__ import annotations

import itertools
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import orjson

from benchmarks import bodies
from benchmarks.contenders import Contender, Server, running
from benchmarks.figures import Faulty, Figure, Measure
from benchmarks.progress import Tell
from benchmarks.report import Table
from benchmarks.turns import Extent

_SERVER: Final = Contender(
    title="bridge, SQLite, 1 subscriber",
    journal="sqlite",
    settings=(
        '[adapters.rcs]\nclient_tokens = ["a-client-token"]\n'
        '[adapters.incs]\ntokens = ["the-token-of-another-customer"]\n'
    ),
    admin=True,
)
_CALLBACKS: Final = 100  # in each turn
_EVERY: Final = 0.005  # seconds between callbacks
_LARGE: Final = 4 << 20
_HALF_OPEN: Final = 900
_NESTED: Final = b'{"a":"\\ud800","b":[' + b'["a"],' * ((_LARGE - 100) // 6) + b"1]}"
_FORGED: Final = b"X-Goog-Signature: " + b"A" * 86 + b"==\r\n"
_WRONG: Final = b"X-Hub-Signature-256: sha256=" + b"0" * 64 + b"\r\n"
_OK: Final = b"HTTP/1.1 200 "


def measure(directory: Path, extent: Extent, tell: Tell) -> Table:
    """Measure the median time of a callback under each flood, and without any."""
    medians: dict[str, list[float]] = {name: [] for name in _FLOODS}
    with running(_SERVER, directory) as server:
        callbacks = bodies.texts()
        for turn in range(extent.turns):
            for name, flood in _FLOODS.items():
                tell(f"turn {turn + 1} of {extent.turns}: {name}")
                at = server.admin_port if flood is operators else server.port
                with _flooding(flood, at):
                    medians[name].append(_median(server, callbacks))
    worst = max(medians.values(), key=statistics.median)
    quiet = statistics.median(medians[_QUIET])
    rows = [
        [name, f"{found:.1f}", f"{found / quiet:.1f}x"]
        for name, times in medians.items()
        for found in (statistics.median(times),)
    ]
    return Table(
        name="attack",
        title="Callbacks while strangers flood the server",
        note=(
            f"One client posts a signed callback every {_EVERY * 1000:g} ms and waits for its 200, "
            "while another process sends as much as it can of what is refused, or what another "
            "customer may send. The median of each "
            f"turn's {_CALLBACKS} callbacks, in the median of {extent}; the flood shares the "
            "machine's cores with the server."
        ),
        headings=["flood", "median ms", "x quiet"],
        rows=rows,
        figures={Measure.MEDIAN_UNDER_ATTACK: Figure(tuple(worst))},
        bars=[(name, statistics.median(times)) for name, times in medians.items()],
        axis="median ms of a callback (less is better)",
    )


def _median(server: Server, callbacks: Iterator[bytes]) -> float:
    """Return the median time of callbacks in milliseconds. Raises `Faulty`."""
    taken = []
    for body in itertools.islice(callbacks, _CALLBACKS):
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(bodies.request(body, server.port))
            if not client.recv(4096).startswith(_OK):
                raise Faulty("a callback was not answered with 200")
        taken.append((time.perf_counter() - began) * 1000)
        time.sleep(_EVERY)
    return statistics.median(taken)


# --- floods --------------------------------------------------------------------------------


@contextmanager
def _flooding(flood: Callable[[int], None] | None, port: int) -> Iterator[None]:
    """Let another process flood the server until the end of the context."""
    if flood is None:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=_again, args=(flood, port))
    process.start()
    try:
        time.sleep(1.0)  # until it is under way
        yield
    finally:
        process.kill()
        process.join()


def _again(flood: Callable[[int], None], port: int) -> None:
    while True:
        with suppress(OSError):
            flood(port)


def _post(path: bytes, headers: bytes, body: bytes) -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: b\r\n%bContent-Length: %d\r\n\r\n"
    return head % (path, headers, len(body)) + body


def _send(port: int, request: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(request)
        client.recv(65536)


def unsigned(port: int) -> None:
    """Send a large RCS body that nobody signed."""
    _send(port, _post(b"/callbacks/rcs", b"", _NESTED))


def forged(port: int) -> None:
    """Send a large RCS body with a signature of the right form."""
    _send(port, _post(b"/callbacks/rcs", _FORGED, _NESTED))


def small(port: int) -> None:
    """Send many small WhatsApp bodies with a wrong signature on one connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        for _ in range(100):
            client.sendall(_post(b"/callbacks/whatsapp", _WRONG, b"{}"))
            client.recv(65536)


def half_open(port: int) -> None:
    """Open many connections and send nothing."""
    with ExitStack() as clients:
        for _ in range(_HALF_OPEN):
            clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        time.sleep(1.0)


def unread(port: int) -> None:
    """Ask on and on, and read no answer."""
    asking = b"GET /nothing HTTP/1.1\r\nHost: b\r\n\r\n" * 100
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        for _ in range(1000):
            client.sendall(asking)


def slow(port: int) -> None:
    """Begin many bodies with a signature of the right form, and do not end them."""
    head = b"POST /callbacks/whatsapp HTTP/1.1\r\nHost: b\r\n%bContent-Length: 4000000\r\n\r\n{"
    with ExitStack() as clients:
        for _ in range(_HALF_OPEN):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            with suppress(OSError):  # it was closed for another
                client.sendall(head % _WRONG)
        time.sleep(1.0)


def operators(port: int) -> None:
    """Open many connections to the operators' port, and ask without the token."""
    asking = b"GET /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\n\r\n"
    with ExitStack() as clients:
        for _ in range(_HALF_OPEN):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            with suppress(OSError):
                client.sendall(asking)


def many_ids(port: int) -> None:
    """Send, as another customer, bodies of a hundred messages with ids that nobody has seen."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        for body in itertools.islice(bodies.texts(100), 20):
            (entry,) = orjson.loads(body)["entry"]
            told = {"event": "new_message", "message": entry["changes"][0]["value"]}
            path = b"/callbacks/incs/the-token-of-another-customer"
            client.sendall(_post(path, b"", orjson.dumps(told)))
            client.recv(65536)


_QUIET: Final = "quiet"
_FLOODS: Final[dict[str, Callable[[int], None] | None]] = {
    _QUIET: None,
    "unsigned bodies of 4 MiB": unsigned,
    "forged bodies of 4 MiB": forged,
    "forged small bodies": small,
    f"{_HALF_OPEN} half-open connections": half_open,
    f"{_HALF_OPEN} bodies that do not end": slow,
    "answers that nobody reads": unread,
    f"{_HALF_OPEN} strangers at the operators' port": operators,
    "another customer's many ids": many_ids,
}
