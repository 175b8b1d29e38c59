"""Options of the whole run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills",
        type=int,
        default=None,
        help="how often the kill loop kills the server (default: a few); also holds each "
        "restart to two seconds, which only an idle machine can promise",
    )
