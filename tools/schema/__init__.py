"""Reads JSON Schemas: normalizes them, models the values they allow, and samples values."""
