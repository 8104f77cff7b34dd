"""Schemathesis' hook: allowed requests ask for a model that exists, so that vectors come back.

The contract takes any name and any width; without this every allowed request would end in a 404,
and no check would ever see a 200.
"""

from __future__ import annotations

from typing import Any

import schemathesis

PATH = "/embeddings"


@schemathesis.hook
def map_case(_: schemathesis.HookContext, case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
    """The request as it is sent; one that breaks the contract stays as it is."""
    is_allowed = case.meta is not None and case.meta.generation.mode.is_positive
    if is_allowed and case.operation.path == PATH and isinstance(case.body, dict):
        case.body = reaching(case.body)
    return case


def reaching(body: dict[str, Any]) -> dict[str, Any]:
    """A request for a model that exists, with a width that it has."""
    body = {**body, "model": "local/hash"}
    if "dimensions" in body:
        body["dimensions"] = 1 + abs(int(body["dimensions"])) % 64
    return body
