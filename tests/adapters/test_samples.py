"""The samples that the adapters ship are cases with known events."""

from __future__ import annotations

import orjson
import pytest

from bridge.adapter.samples import load
from tests.adapters import cases


@pytest.mark.parametrize("adapter", ["incs", "rcs", "whatsapp"])
def test_every_sample_is_a_case(adapter):
    """The cases say which events each sample gives that `bridge trigger` posts."""
    named = {path.read_text("utf-8").strip() for path in (cases.DATA / adapter).glob("*/sample")}
    assert named == {sample.name for sample in load(f"bridge.adapters.{adapter}")}


@pytest.mark.parametrize("adapter", ["incs", "rcs", "whatsapp"])
def test_no_body_is_on_disk_twice(adapter):
    """A case whose body is a sample's names the sample instead of repeating it."""
    samples = [sample.body for sample in load(f"bridge.adapters.{adapter}")]
    for path in (cases.DATA / adapter).glob("*/request.json"):
        assert orjson.loads(path.read_bytes()) not in samples, path
