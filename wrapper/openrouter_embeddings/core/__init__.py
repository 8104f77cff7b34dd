"""Every decision of a call, without I/O, clock, sleep or randomness.

inputs → `validate` → `batching` → `encode` → request bytes; reply bytes → `streaming` → `decode` →
`result_builder`.
"""
