"""What the bridge costs beside its peers; `python -m benchmarks` runs everything."""
