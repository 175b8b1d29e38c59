"""Whether a process can be kept on one core here, as everything that is measured is."""

import shutil
import sys

import pytest

needs_cores = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("taskset") is None,
    reason="servers are kept on one core with taskset and /proc, which are Linux's",
)
