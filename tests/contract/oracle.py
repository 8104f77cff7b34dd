"""The repaired contract as an oracle: generates what it allows, and reports what breaks it."""

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from openrouter_embeddings.local.contract import Contract, shipped
from openrouter_embeddings.local.servers.asgi import make_app
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth

from tests.contract import schemathesis_hooks  # noqa: F401 - registers a hook

# `make contract` tries 1,000; `make test` tries a few, to be quick.
EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "40"))
# schemathesis generates large values and discards many
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
AUTH = {"Authorization": "Bearer contract"}
# The stand-in accepts any key, so that clients with a real key work against it. That it rejects a
# missing key is tested in tests/local/test_respond.py.
EXCLUDED = [ignored_auth]
Request: TypeAlias = "Case[Any]"
F = TypeVar("F", bound=Callable[..., None])


def examined(test: F) -> F:
    """Run a property with the number of examples that was asked for."""
    return settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)(test)


def schema_of(*path: str, of: Contract | None = None) -> dict[str, Any]:
    """A schema of the operation, with the components that it refers to."""
    of = of or shipped()
    found: Any = of.operation
    for key in (*path, "content", "application/json", "schema"):
        found = found[key]
    return {**found, "components": of.document["components"]}


REQUEST = jsonschema_rs.Draft202012Validator(schema_of("requestBody"))


def load(app: Any = None) -> Any:
    """The contract's operation for schemathesis, served by `app` in this process."""
    schema = schemathesis.openapi.from_dict(shipped().document)
    schema.app = make_app() if app is None else app
    schema.config.generation.update(with_security_parameters=False)
    return schema["/embeddings"]["POST"]


def cases(mode: GenerationMode, app: Any = None) -> st.SearchStrategy[Request]:
    """Requests that the contract allows, or rejects."""
    strategy: st.SearchStrategy[Request] = load(app).as_strategy(mode)
    return strategy


def bodies(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Anything that a schema allows, as the body of a made-up operation of schemathesis."""
    components = schema["components"]
    bare = {key: value for key, value in schema.items() if key != "components"}
    made_up = {
        "openapi": "3.1.0",
        "info": {"title": "made up", "version": "1"},
        "components": {"schemas": components["schemas"]},
        "paths": {
            "/x": {
                "post": {
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": bare}},
                    },
                    "responses": {"200": {"description": "ok"}},
                }
            }
        },
    }
    schema_ = schemathesis.openapi.from_dict(made_up)
    strategy: st.SearchStrategy[Request] = schema_["/x"]["POST"].as_strategy()
    return strategy.map(lambda case: case.body)


def nulls(value: Any) -> Iterable[str]:
    """The keys in a request whose value is null."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if inner is None:
                yield key
            yield from nulls(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nulls(inner)
