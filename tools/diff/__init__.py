"""Compares two editions of the contract and says which changes break callers."""
