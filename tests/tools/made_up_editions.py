"""Made-up editions: edits that apply to any edition, and the expected results."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.tools import edits as e
from tests.tools.published_document import Edit, NotApplicable, edited
from tools.openapi import SPEC, as_yaml, load

PUBLISHED = load(SPEC.read_bytes())
TEXT = SPEC.read_text()
NOTHING = ("no change that affects programs",)


@dataclass(frozen=True)
class MadeUpEdition:
    """A made-up edition and its expected results.

    Attributes:
        edits: the edits of a published document.
        changes: lines of the summary of changes.
        gaps: the keys of the new gaps in the wrapper.
        types: the type error of the wrapper with the new client.
        tests: the test of the wrapper that fails.
        kept: whether the wrapper already handles all breaking changes.
    """

    edits: tuple[Edit, ...]
    changes: tuple[str, ...] = NOTHING
    gaps: tuple[str, ...] = ()
    types: str | None = None
    tests: str | None = None
    kept: bool = False

    def of(self, document: dict[str, Any]) -> dict[str, Any]:
        """Apply the edits to a document. Raises NotApplicable if they do not apply."""
        return edited(document, *self.edits)

    def today(self) -> dict[str, Any]:
        """Apply them to the project's edition; skip the test if they do not apply."""
        try:
            return self.of(PUBLISHED)
        except NotApplicable as reason:
            pytest.skip(f"not applicable: {reason}")

    @property
    def text(self) -> str:
        """The edited project's edition as YAML."""
        return as_yaml(self.today())

    @property
    def breaks(self) -> bool:
        """Whether it can break callers."""
        return any("BREAKS" in line for line in self.changes)

    @property
    def harmless(self) -> bool:
        """Whether callers and types need no change."""
        return not (self.types or self.breaks)


STRING = {"type": "string"}
SMELL = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["input_smell"]},
        "input_smell": {"type": "object", "properties": {"data": STRING}, "required": ["data"]},
    },
    "required": ["type", "input_smell"],
}
QUERY = {"name": "q", "in": "query", "required": True, "schema": STRING}
HEADER = {"name": "X-Title", "in": "header", "required": True, "schema": STRING}
KEY = {"name": "Authorization", "in": "header", "required": True, "schema": STRING}
LIST = {"get": {"operationId": "list-models", "responses": {"200": {"description": "ok"}}}}
ITEM = "response.data[]"
PARTS = "request.input[].content[]"

# What callers send.
REQUESTS = {
    "an optional request field": MadeUpEdition(
        (e.add_field("request", "priority", STRING),),
        ("request:", "ok      priority is new", "an option in core/options.py"),
        gaps=("request field priority",),
    ),
    "a request field that has to be sent": MadeUpEdition(
        (e.add_field("request", "priority", STRING, required=True),),
        ("BREAKS  priority is new and required",),
        gaps=("request field priority", "request required priority"),
    ),
    "a required request field": MadeUpEdition(
        (e.require("request", "user"),),
        ("BREAKS  user is required now",),
        gaps=("request required user",),
        types='Argument "user" to "EmbeddingRequest" has incompatible type',
    ),
    "a request field removed": MadeUpEdition(
        (e.remove("request", "user"),),
        ("BREAKS  user is gone",),
        gaps=("sent field user",),
        types='Unexpected keyword argument "user"',
    ),
    "a request field of another type": MadeUpEdition(
        (e.replace_schema("request.dimensions", STRING),),
        ("BREAKS  dimensions is no longer integer", "dimensions may be string now"),
        gaps=("request field dimensions",),
        types='has incompatible type "int | None"; expected "str',
    ),
    "another type beside it": MadeUpEdition(
        (e.add_alternative("request.dimensions", STRING),),
        ("ok      dimensions may be string now",),
        gaps=("request type dimensions string",),
    ),
    "numbers of dimensions": MadeUpEdition(
        (e.set_keys("request.dimensions", type="number"),),
        ("ok      dimensions may be number now",),
    ),
    "a limit on the request": MadeUpEdition(
        (e.set_keys("request.input:array", maxItems=64),),
        ("BREAKS  input has maxItems 64 now (a list of strings)",),
        gaps=("request limit input maxItems 64",),
    ),
    "a limit that nobody breaks": MadeUpEdition(
        (e.set_keys("request.input:string", minLength=1),),
        ("BREAKS  input has minLength 1 now",),
        kept=True,
    ),
    "the same limit on each text": MadeUpEdition(
        (
            e.set_keys("request.input[]:string", minLength=1),
            e.set_keys("request.input[].content[].text", minLength=1),
            e.set_keys("request.input[].content:array", minItems=1),
        ),
        (
            "BREAKS  input[] has minLength 1 now",
            "BREAKS  input[].content has minItems 1 now",
            "BREAKS  input[].content[].text has minLength 1 now",
        ),
        kept=True,
    ),
    "a most of dimensions": MadeUpEdition(
        (e.set_keys("request.dimensions", maximum=4096),),
        ("BREAKS  dimensions has maximum 4096 now",),
        gaps=("request limit dimensions maximum 4096",),
    ),
    "a pattern": MadeUpEdition(
        (e.set_keys("request.user", pattern="^[a-z]+$", maxLength=128),),
        ("BREAKS  user has pattern ^[a-z]+$ now", "BREAKS  user has maxLength 128 now"),
        gaps=("request limit user pattern ^[a-z]+$", "request limit user maxLength 128"),
    ),
    "no provider twice": MadeUpEdition(
        (e.set_keys("request.provider.order:array", uniqueItems=True),),
        ("BREAKS  provider.order has uniqueItems True now",),
        gaps=("request limit provider.order uniqueItems True",),
    ),
    "no other preferences": MadeUpEdition(
        (e.set_keys("request.provider:object", additionalProperties=False),),
        ("BREAKS  provider no longer allows other fields",),
        kept=True,
    ),
    "no other fields": MadeUpEdition(
        (e.set_keys("request", additionalProperties=False),),
        ("BREAKS  the root no longer allows other fields",),
        kept=True,
    ),
    "a value added to a request": MadeUpEdition(
        (e.add_value("request.encoding_format", "int8"),),
        ("ok      encoding_format has the new value int8",),
        gaps=("request value encoding_format int8",),
    ),
    "a value removed from a request": MadeUpEdition(
        (e.remove_value("request.encoding_format", "float"),),
        ("BREAKS  encoding_format no longer has the value float",),
        gaps=("sent value encoding_format float",),
    ),
    "a value added to a preference": MadeUpEdition(
        (e.add_value("request.provider.quantizations[]", "int2"),),
        ("ok      provider.quantizations[] has the new value int2",),
        gaps=("request value provider.quantizations[] int2",),
    ),
    "another provider": MadeUpEdition(
        (e.add_value("request.provider.order[]", "Acme"),),
        ("ok      provider.order[] has the new value Acme",),
    ),
    "a provider that is gone": MadeUpEdition(
        (e.remove_value("request.provider.order[]", "OpenAI"),),
        ("note    provider.order[] no longer lists OpenAI; any string is still allowed",),
    ),
    "null for a field": MadeUpEdition(
        (e.add_null("request.user"),),
        ("ok      user may be null now",),
        gaps=("request null user",),
    ),
    "no null for a preference": MadeUpEdition(
        (e.remove_null("request.provider.zdr"),),
        ("BREAKS  provider.zdr may no longer be null",),
        kept=True,
    ),
    "null for all preferences": MadeUpEdition(
        (e.add_null("request.provider"),),
        ("ok      provider may be null now",),
        gaps=("request null provider",),
    ),
    "a new preference": MadeUpEdition(
        (e.add_field("request.provider", "region", STRING),),
        ("ok      provider.region is new",),
        gaps=("request field provider.region",),
    ),
    "a nested preference renamed": MadeUpEdition(
        (
            e.remove("request.provider", "zdr"),
            e.add_field("request.provider", "zdr_only", {"type": "boolean"}),
        ),
        ("BREAKS  provider.zdr is gone", "ok      provider.zdr_only is new"),
        gaps=("request field provider.zdr_only", "sent field provider.zdr"),
    ),
    "a new content part": MadeUpEdition(
        (e.add_alternative(PARTS, SMELL),),
        ("ok      input[].content[] may have the type input_smell now",),
        gaps=("content part input_smell",),
    ),
    "a new content part before the others": MadeUpEdition(
        (e.add_alternative(PARTS, SMELL, first=True),),
        ("ok      input[].content[] may have the type input_smell now",),
        gaps=("content part input_smell",),
    ),
    "only texts": MadeUpEdition(
        (e.keep_alternatives("request.input", 2),),
        ("BREAKS  input is no longer a list of objects",),
        gaps=("sent type input list of list of number", "sent type input list of object"),
    ),
    "one of two fields": MadeUpEdition(
        (e.set_keys("request", anyOf=[{"required": ["user"]}, {"required": ["dimensions"]}]),),
        ("BREAKS  the root needs dimensions or user now",),
        gaps=("request limit the root required dimensions or user",),
    ),
    "one of two fields, one of which is always sent": MadeUpEdition(
        (e.set_keys("request", anyOf=[{"required": ["encoding_format"]}, {"required": ["user"]}]),),
        ("BREAKS  the root needs encoding_format or user now",),
        kept=True,
    ),
    "a required field without a schema": MadeUpEdition(
        (e.add_required("request", "seed"),),
        ("BREAKS  seed is new and required",),
        gaps=("request field seed", "request required seed"),
    ),
    "a limit of the root": MadeUpEdition(
        (e.set_keys("request", minProperties=9),),
        ("BREAKS  the root has minProperties 9 now",),
        gaps=("request limit the root minProperties 9",),
    ),
    "a pattern of names": MadeUpEdition(
        (e.set_keys("request", propertyNames={"pattern": "^[a-z_]+$"}),),
        ('BREAKS  the root has propertyNames: {"pattern": "^[a-z_]+$"} now',),
        gaps=('request limit the root propertyNames: {"pattern": "^[a-z_]+$"}',),
    ),
    "a field that needs another": MadeUpEdition(
        (e.set_keys("request", dependentRequired={"dimensions": ["user"]}),),
        ('BREAKS  the root has dependentRequired: {"dimensions": ["user"]} now',),
        gaps=('request limit the root dependentRequired: {"dimensions": ["user"]}',),
    ),
    "a value that is not allowed": MadeUpEdition(
        (e.set_keys("request.user", **{"not": {"const": "x"}}),),
        ('BREAKS  user has not: {"const": "x"} now',),
        gaps=('request limit user not: {"const": "x"}',),
    ),
    "a limit with a point": MadeUpEdition(
        (e.set_keys("request.input:array", maxItems=64.0),),
        ("BREAKS  input has maxItems 64 now",),
        gaps=("request limit input maxItems 64",),
    ),
    "a preference that contains itself": MadeUpEdition(
        (e.add_linked_list("request.provider", "next"),),
        ("ok      provider.next is new",),
        gaps=("request field provider.next",),
    ),
    "another form of the request": MadeUpEdition(
        (e.media_type("request", "multipart/form-data", instead=True),),
        ("ok      may be multipart/form-data now", "BREAKS  is no longer application/json"),
        gaps=("request body",),
    ),
    "a header that has to be sent": MadeUpEdition(
        (e.operation(parameters=[HEADER]),),
        ("BREAKS  header X-Title is new and required",),
        gaps=("request parameter header X-Title",),
    ),
    "a parameter of the path": MadeUpEdition(
        (e.path("/embeddings", parameters=[QUERY]),),
        ("BREAKS  query q is new and required",),
        gaps=("request parameter query q",),
    ),
}

# What callers read.
ANSWERS = {
    "a new response field": MadeUpEdition(
        (e.add_field(ITEM, "kind", STRING),),
        ("response:", "ok      data[].kind is new"),
        gaps=("response field data[].kind",),
    ),
    "a new required response field": MadeUpEdition(
        (e.add_field(ITEM, "kind", STRING, required=True),),
        ("ok      data[].kind is new and required",),
        gaps=("response field data[].kind",),
        tests="test_the_low_level_client_works_by_itself",
    ),
    "a response field removed": MadeUpEdition(
        (e.remove(ITEM, "index"),), ("BREAKS  data[].index is gone",)
    ),
    "a response field that may be null": MadeUpEdition(
        (e.add_null("response.id"),), ("BREAKS  id may be null now",), kept=True
    ),
    "usage may be null": MadeUpEdition(
        (e.add_null("response.usage"),), ("BREAKS  usage may be null now",), kept=True
    ),
    "a vector may be null": MadeUpEdition(
        (e.add_null(f"{ITEM}.embedding"),),
        ("BREAKS  data[].embedding may be null now",),
        gaps=("response null data[].embedding",),
    ),
    "a response field that is optional now": MadeUpEdition(
        (e.require("response", "model", required=False),),
        ("BREAKS  model is optional now",),
        kept=True,
    ),
    "vectors as strings alone": MadeUpEdition(
        (e.replace_schema(f"{ITEM}.embedding", STRING),),
        ("BREAKS  data[].embedding is no longer a list of numbers",),
    ),
    "sparse vectors": MadeUpEdition(
        (e.add_alternative(f"{ITEM}.embedding", {"type": "object"}),),
        ("BREAKS  data[].embedding may be object now",),
        gaps=("response type data[].embedding object",),
    ),
    "a schema that contains itself": MadeUpEdition(
        (e.add_recursive_list(ITEM, "chunks"),),
        ("ok      data[].chunks is new",),
        gaps=("response field data[].chunks",),
    ),
    "an answer that needs itself": MadeUpEdition(
        (e.add_linked_list(ITEM, "next"),),
        ("ok      data[].next is new",),
        gaps=("response field data[].next",),
    ),
    "a response field of another type in Python": MadeUpEdition(
        (e.set_keys("response.id", format="date-time"),), ("BREAKS  id has format: date-time now",)
    ),
    "another media type": MadeUpEdition((e.media_type("response", "text/csv"),)),
    "another success": MadeUpEdition(
        (e.status("201", {}, instead_of="200"),),
        ("BREAKS  status 200 is gone", "BREAKS  status 201 is new"),
        gaps=("no response 200",),
    ),
    "a new status": MadeUpEdition(
        (e.status("409", {"description": "Conflict"}),),
        ("errors:", "ok      status 409 is new", "EXCEPTIONS in tests/contract/test_client.py"),
        gaps=("status 409",),
    ),
    "statuses of a kind": MadeUpEdition(
        (e.status("5XX", {"description": "Odd"}), e.status("default", {"description": "Odd"})),
        ("ok      status 5XX is new", "ok      status default is new"),
    ),
    "a new field of errors": MadeUpEdition(
        (e.add_field("error 429", "hint", STRING),),
        ("ok      429: hint is new",),
        gaps=("error field hint",),
    ),
}

# The service, and other operations.
SERVICES = {
    "a new operation": MadeUpEdition(
        (e.path("/embeddings/models", **LIST),),
        ("operations:", "ok      GET /embeddings/models is new", "needs a method"),
        gaps=("operation GET /embeddings/models",),
    ),
    "an operation renamed": MadeUpEdition(
        (e.operation(operationId="embed"),), ("note    ", "is called embed now")
    ),
    "another address": MadeUpEdition(
        (e.document(servers=[{"url": "https://openrouter.ai/api/v2"}]),),
        ("service:", "BREAKS  the address is https://openrouter.ai/api/v2 now"),
        gaps=("address https://openrouter.ai/api/v2",),
    ),
    "no key": MadeUpEdition((e.operation(security=[]),), ("ok      no key is required now",)),
    "another way to send the key": MadeUpEdition(
        (e.security_scheme("apiKey", scheme="basic"),),
        ("BREAKS  the key is sent as http basic now",),
        gaps=("key http basic",),
    ),
}

# Equivalent spellings.
SPELLINGS = {
    "other words": MadeUpEdition((e.reword,)),
    "oneOf spelt anyOf": MadeUpEdition((e.swap_unions,)),
    "components renamed": MadeUpEdition((e.rename_components,)),
    "nothing shared": MadeUpEdition((e.inline,)),
    "another order": MadeUpEdition(
        (e.reverse_alternatives(PARTS), e.reverse_alternatives("request.input"))
    ),
    "nullable": MadeUpEdition((e.spell_null("request.provider.zdr", nullable=True),)),
    "null among the values": MadeUpEdition((e.null_in_enum("request.provider.sort.by"),)),
    "an exclusive limit as a boolean": MadeUpEdition(
        (e.add_exclusive_minimum("request.dimensions"),),
        ("BREAKS  dimensions has minimum 1 now",),
        kept=True,
    ),
    "allOf": MadeUpEdition((e.all_of("response.usage"),)),
    "allOf of the preferences": MadeUpEdition((e.all_of("request.provider"),)),
    "JSON with a charset": MadeUpEdition(
        (e.media_type("request", "Application/JSON; charset=utf-8", instead=True),)
    ),
    "no addresses of its own": MadeUpEdition((e.operation(servers=[]),)),
    "a limit that all values keep": MadeUpEdition(
        (
            e.set_keys("request.encoding_format", minLength=1),
            e.set_keys("request.dimensions", multipleOf=1),
        )
    ),
    "nested tags": MadeUpEdition((e.operation(tags=[["Embeddings"]]),)),
    "values as mappings": MadeUpEdition((e.enum_as_mappings("request.encoding_format"),)),
    "the name in another spelling": MadeUpEdition((e.respell_operation_id,)),
    "a scheme of the key twice": MadeUpEdition((e.security_scheme("bearer"),)),
    "a scheme of the key in two ways": MadeUpEdition(
        (e.security_scheme("raw", type="apiKey", name="Authorization", **{"in": "header"}),)
    ),
    "the key as a parameter": MadeUpEdition((e.operation(parameters=[KEY]),)),
}

EDITIONS = {**REQUESTS, **ANSWERS, **SERVICES, **SPELLINGS}
