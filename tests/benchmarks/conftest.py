"""The benchmarks are part of the sources only: the tests of a built wheel do without them."""

from pathlib import Path

_ROOT = Path(__file__).parents[2]

collect_ignore_glob = [] if (_ROOT / "benchmarks").is_dir() else ["test_*.py"]
