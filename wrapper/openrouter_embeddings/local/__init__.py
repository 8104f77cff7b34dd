"""The service's stand-in: `respond(request bytes) -> reply`, models behind it, doors in front.

It holds requests to the repaired contract, not to the generated code, so that each can show the
other to be wrong. It imports nothing of the client.
"""
