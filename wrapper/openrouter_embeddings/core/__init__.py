"""Every decision of a call, without I/O, clock, sleep or randomness, so that tests need neither.

Out: inputs → `validate` → `batching` → `encode` → request bytes. Back: response bytes → `streaming`
→ `decode` → `result_builder`. `options` and `preferences` check what else a request holds,
`retry_policy` and `splitting` decide what follows an error, `limiter` and `budget` when to send.
"""
