"""Tests that take minutes: `python -m stress.faults`, `stress.kills`, `stress.soak`, `stress.fuzz`.

Each prints its results and ends with status 0 if they are as they should be. All but `fuzz` also
write them into docs/reliability.md.
"""
