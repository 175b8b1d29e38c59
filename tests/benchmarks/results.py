"""What loads brought, made up."""

from __future__ import annotations

from benchmarks.load import Result


def result(rate: float, *, cpu: float = 100, p99: float = 20, generator: float = 0.3) -> Result:
    """Return what a load brought, of which everything was handled at once."""
    return Result(
        rate=rate,
        asked=rate,
        cpu=cpu,
        events=int(rate),
        p50=5,
        p99=p99,
        p999=40,
        memory=80,
        catch_up=0,
        generator=generator,
    )
