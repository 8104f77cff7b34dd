"""Finds what the contract offers and the wrapper does not."""
