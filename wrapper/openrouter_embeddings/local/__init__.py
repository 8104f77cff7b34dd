"""The stand-in for the service: `respond(request bytes) -> reply`, with models, faults and servers.

It validates requests against the repaired contract and not with the generated code, so tests can
compare the two. It imports nothing from the client.
"""
