"""Every decision of a call, without I/O, clock, sleep or randomness.

inputs → `accept` → `plan` → `encode` → request bytes; reply bytes → `decode` → `assemble`.
"""
