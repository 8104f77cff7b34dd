"""Tests that take minutes: faults, kills, soaks and fuzzing; `make stress` runs them."""
