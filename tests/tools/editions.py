"""Editions that the publisher may bring: edits by place, of any edition, and who notices each."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.tools import edits as e
from tests.tools.places import Edit, Moot, edited
from tools.documents import SPEC, as_yaml, load

PUBLISHED = load(SPEC.read_bytes())
TEXT = SPEC.read_text()
NOTHING = ("no difference that a program could meet",)


@dataclass(frozen=True)
class MadeUp:
    """An edition that somebody made up, and what is said of it.

    Attributes:
        edits: what becomes of a document.
        account: lines of the account of changes.
        gaps: what the wrapper lacks then, by the keys of tools/drift.py.
        types: what the type checker says of the wrapper against the new client.
        tests: which of the wrapper's own tests says that the stand-in lacks something.
        kept: whether the wrapper does already what the changes that break callers ask for.
    """

    edits: tuple[Edit, ...]
    account: tuple[str, ...] = NOTHING
    gaps: tuple[str, ...] = ()
    types: str | None = None
    tests: str | None = None
    kept: bool = False

    def of(self, document: dict[str, Any]) -> dict[str, Any]:
        """A published document, edited. Raises Moot where the edition has nothing to edit."""
        return edited(document, *self.edits)

    def today(self) -> dict[str, Any]:
        """The same of the project's own edition; the test is skipped where it has it already."""
        try:
            return self.of(PUBLISHED)
        except Moot as reason:
            pytest.skip(f"moot: {reason}")

    @property
    def text(self) -> str:
        """The same as YAML."""
        return as_yaml(self.today())

    @property
    def breaks(self) -> bool:
        """Whether a caller can break."""
        return any("BREAKS" in line for line in self.account)

    @property
    def harmless(self) -> bool:
        """Whether a caller and a type can stay as they are."""
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

# What a caller sends.
REQUESTS = {
    "an optional request field": MadeUp(
        (e.add_field("request", "priority", STRING),),
        ("request:", "ok      priority is new", "an option in core/options.py"),
        gaps=("request field priority",),
    ),
    "a request field that has to be sent": MadeUp(
        (e.add_field("request", "priority", STRING, required=True),),
        ("BREAKS  priority is new and required",),
        gaps=("request field priority", "request required priority"),
    ),
    "a required request field": MadeUp(
        (e.require("request", "user"),),
        ("BREAKS  user is required now",),
        gaps=("request required user",),
        types='Argument "user" to "EmbeddingRequest" has incompatible type',
    ),
    "a request field removed": MadeUp(
        (e.remove("request", "user"),),
        ("BREAKS  user is gone",),
        gaps=("sent field user",),
        types='Unexpected keyword argument "user"',
    ),
    "a request field of another type": MadeUp(
        (e.anew("request.dimensions", STRING),),
        ("BREAKS  dimensions is no longer integer", "dimensions may be string now"),
        gaps=("request field dimensions",),
        types='has incompatible type "int | None"; expected "str',
    ),
    "another type beside it": MadeUp(
        (e.add_alternative("request.dimensions", STRING),),
        ("ok      dimensions may be string now",),
        gaps=("request form dimensions string",),
    ),
    "numbers of dimensions": MadeUp(
        (e.set_keys("request.dimensions", type="number"),),
        ("ok      dimensions may be number now",),
    ),
    "a limit on the request": MadeUp(
        (e.set_keys("request.input:array", maxItems=64),),
        ("BREAKS  input has maxItems 64 now (a list of strings)",),
        gaps=("request limit input maxItems 64",),
    ),
    "a limit that nobody breaks": MadeUp(
        (e.set_keys("request.input:string", minLength=1),),
        ("BREAKS  input has minLength 1 now",),
        kept=True,
    ),
    "the same limit on each text": MadeUp(
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
    "a most of dimensions": MadeUp(
        (e.set_keys("request.dimensions", maximum=4096),),
        ("BREAKS  dimensions has maximum 4096 now",),
        gaps=("request limit dimensions maximum 4096",),
    ),
    "a pattern": MadeUp(
        (e.set_keys("request.user", pattern="^[a-z]+$", maxLength=128),),
        ("BREAKS  user has pattern ^[a-z]+$ now", "BREAKS  user has maxLength 128 now"),
        gaps=("request limit user pattern ^[a-z]+$", "request limit user maxLength 128"),
    ),
    "no provider twice": MadeUp(
        (e.set_keys("request.provider.order:array", uniqueItems=True),),
        ("BREAKS  provider.order has uniqueItems True now",),
        gaps=("request limit provider.order uniqueItems True",),
    ),
    "no other preferences": MadeUp(
        (e.set_keys("request.provider:object", additionalProperties=False),),
        ("BREAKS  provider has no room for other fields now",),
        kept=True,
    ),
    "no other fields": MadeUp(
        (e.set_keys("request", additionalProperties=False),),
        ("BREAKS  the whole has no room for other fields now",),
        kept=True,
    ),
    "a value added to a request": MadeUp(
        (e.add_value("request.encoding_format", "int8"),),
        ("ok      encoding_format has the new value int8",),
        gaps=("request value encoding_format int8",),
    ),
    "a value removed from a request": MadeUp(
        (e.remove_value("request.encoding_format", "float"),),
        ("BREAKS  encoding_format no longer has the value float",),
        gaps=("sent value encoding_format float",),
    ),
    "a value added to a preference": MadeUp(
        (e.add_value("request.provider.quantizations[]", "int2"),),
        ("ok      provider.quantizations[] has the new value int2",),
        gaps=("request value provider.quantizations[] int2",),
    ),
    "another provider": MadeUp(
        (e.add_value("request.provider.order[]", "Acme"),),
        ("ok      provider.order[] has the new value Acme",),
    ),
    "a provider that is gone": MadeUp(
        (e.remove_value("request.provider.order[]", "OpenAI"),),
        ("note    provider.order[] no longer names OpenAI; any string is allowed as before",),
    ),
    "null for a field": MadeUp(
        (e.add_null("request.user"),),
        ("ok      user may be null now",),
        gaps=("request null user",),
    ),
    "no null for a preference": MadeUp(
        (e.remove_null("request.provider.zdr"),),
        ("BREAKS  provider.zdr may not be null any more",),
        kept=True,
    ),
    "null for all preferences": MadeUp(
        (e.add_null("request.provider"),),
        ("ok      provider may be null now",),
        gaps=("request null provider",),
    ),
    "a new preference": MadeUp(
        (e.add_field("request.provider", "region", STRING),),
        ("ok      provider.region is new",),
        gaps=("request field provider.region",),
    ),
    "a nested preference renamed": MadeUp(
        (
            e.remove("request.provider", "zdr"),
            e.add_field("request.provider", "zdr_only", {"type": "boolean"}),
        ),
        ("BREAKS  provider.zdr is gone", "ok      provider.zdr_only is new"),
        gaps=("request field provider.zdr_only", "sent field provider.zdr"),
    ),
    "a new content part": MadeUp(
        (e.add_alternative(PARTS, SMELL),),
        ("ok      input[].content[] may have the type input_smell now",),
        gaps=("content part input_smell",),
    ),
    "a new content part before the others": MadeUp(
        (e.add_alternative(PARTS, SMELL, first=True),),
        ("ok      input[].content[] may have the type input_smell now",),
        gaps=("content part input_smell",),
    ),
    "only texts": MadeUp(
        (e.keep_alternatives("request.input", 2),),
        ("BREAKS  input is no longer a list of objects",),
        gaps=("sent form input list of list of number", "sent form input list of object"),
    ),
    "one of two fields": MadeUp(
        (e.set_keys("request", anyOf=[{"required": ["user"]}, {"required": ["dimensions"]}]),),
        ("BREAKS  the whole needs dimensions or user now",),
        gaps=("request limit the whole required dimensions or user",),
    ),
    "one of two fields, one of which is always sent": MadeUp(
        (e.set_keys("request", anyOf=[{"required": ["encoding_format"]}, {"required": ["user"]}]),),
        ("BREAKS  the whole needs encoding_format or user now",),
        kept=True,
    ),
    "a required field without a schema": MadeUp(
        (e.add_required("request", "seed"),),
        ("BREAKS  seed is new and required",),
        gaps=("request field seed", "request required seed"),
    ),
    "a limit of the whole": MadeUp(
        (e.set_keys("request", minProperties=9),),
        ("BREAKS  the whole has minProperties 9 now",),
        gaps=("request limit the whole minProperties 9",),
    ),
    "a pattern of names": MadeUp(
        (e.set_keys("request", propertyNames={"pattern": "^[a-z_]+$"}),),
        ('BREAKS  the whole has propertyNames: {"pattern": "^[a-z_]+$"} now',),
        gaps=('request limit the whole propertyNames: {"pattern": "^[a-z_]+$"}',),
    ),
    "a field that needs another": MadeUp(
        (e.set_keys("request", dependentRequired={"dimensions": ["user"]}),),
        ('BREAKS  the whole has dependentRequired: {"dimensions": ["user"]} now',),
        gaps=('request limit the whole dependentRequired: {"dimensions": ["user"]}',),
    ),
    "a value that is not allowed": MadeUp(
        (e.set_keys("request.user", **{"not": {"const": "x"}}),),
        ('BREAKS  user has not: {"const": "x"} now',),
        gaps=('request limit user not: {"const": "x"}',),
    ),
    "a limit with a point": MadeUp(
        (e.set_keys("request.input:array", maxItems=64.0),),
        ("BREAKS  input has maxItems 64 now",),
        gaps=("request limit input maxItems 64",),
    ),
    "a preference that contains itself": MadeUp(
        (e.chain("request.provider", "next"),),
        ("ok      provider.next is new",),
        gaps=("request field provider.next",),
    ),
    "another form of the request": MadeUp(
        (e.media_type("request", "multipart/form-data", instead=True),),
        ("ok      may be multipart/form-data now", "BREAKS  is no longer application/json"),
        gaps=("request body",),
    ),
    "a header that has to be sent": MadeUp(
        (e.operation(parameters=[HEADER]),),
        ("BREAKS  header X-Title is new and required",),
        gaps=("request parameter header X-Title",),
    ),
    "a parameter of the path": MadeUp(
        (e.path("/embeddings", parameters=[QUERY]),),
        ("BREAKS  query q is new and required",),
        gaps=("request parameter query q",),
    ),
}

# What a caller reads.
ANSWERS = {
    "a new response field": MadeUp(
        (e.add_field(ITEM, "kind", STRING),),
        ("response:", "ok      data[].kind is new"),
        gaps=("response field data[].kind",),
    ),
    "a new required response field": MadeUp(
        (e.add_field(ITEM, "kind", STRING, required=True),),
        ("ok      data[].kind is new and required",),
        gaps=("response field data[].kind",),
        tests="test_the_low_level_client_works_by_itself",
    ),
    "a response field removed": MadeUp(
        (e.remove(ITEM, "index"),), ("BREAKS  data[].index is gone",)
    ),
    "a response field that may be null": MadeUp(
        (e.add_null("response.id"),), ("BREAKS  id may be null now",), kept=True
    ),
    "usage may be null": MadeUp(
        (e.add_null("response.usage"),), ("BREAKS  usage may be null now",), kept=True
    ),
    "a vector may be null": MadeUp(
        (e.add_null(f"{ITEM}.embedding"),),
        ("BREAKS  data[].embedding may be null now",),
        gaps=("response null data[].embedding",),
    ),
    "a response field that is optional now": MadeUp(
        (e.require("response", "model", required=False),),
        ("BREAKS  model is optional now",),
        kept=True,
    ),
    "vectors as strings alone": MadeUp(
        (e.anew(f"{ITEM}.embedding", STRING),),
        ("BREAKS  data[].embedding is no longer a list of numbers",),
    ),
    "sparse vectors": MadeUp(
        (e.add_alternative(f"{ITEM}.embedding", {"type": "object"}),),
        ("BREAKS  data[].embedding may be object now",),
        gaps=("response form data[].embedding object",),
    ),
    "a schema that contains itself": MadeUp(
        (e.recursive(ITEM, "chunks"),),
        ("ok      data[].chunks is new",),
        gaps=("response field data[].chunks",),
    ),
    "an answer that needs itself": MadeUp(
        (e.chain(ITEM, "next"),),
        ("ok      data[].next is new",),
        gaps=("response field data[].next",),
    ),
    "a response field of another type in Python": MadeUp(
        (e.set_keys("response.id", format="date-time"),),
        ("BREAKS  id has format: date-time now",),
    ),
    "another media type": MadeUp((e.media_type("response", "text/csv"),)),
    "another success": MadeUp(
        (e.status("201", {}, instead_of="200"),),
        ("BREAKS  status 200 is gone", "BREAKS  status 201 is new"),
        gaps=("no response 200",),
    ),
    "a new status": MadeUp(
        (e.status("409", {"description": "Conflict"}),),
        ("errors:", "ok      status 409 is new", "EXCEPTIONS in tests/contract/test_client.py"),
        gaps=("status 409",),
    ),
    "statuses of a kind": MadeUp(
        (e.status("5XX", {"description": "Odd"}), e.status("default", {"description": "Odd"})),
        ("ok      status 5XX is new", "ok      status default is new"),
    ),
    "a new field of errors": MadeUp(
        (e.add_field("error 429", "hint", STRING),),
        ("ok      429: hint is new",),
        gaps=("error field hint",),
    ),
}

# The service, and other operations.
SERVICES = {
    "a new operation": MadeUp(
        (e.path("/embeddings/models", **LIST),),
        ("operations:", "ok      GET /embeddings/models is new", "a method of its own"),
        gaps=("operation GET /embeddings/models",),
    ),
    "an operation renamed": MadeUp(
        (e.operation(operationId="embed"),), ("note    ", "is called embed now")
    ),
    "another address": MadeUp(
        (e.document(servers=[{"url": "https://openrouter.ai/api/v2"}]),),
        ("service:", "BREAKS  its address is https://openrouter.ai/api/v2 now"),
        gaps=("address https://openrouter.ai/api/v2",),
    ),
    "no key": MadeUp((e.operation(security=[]),), ("ok      it asks for no key now",)),
    "another way to send the key": MadeUp(
        (e.security_scheme("apiKey", scheme="basic"),),
        ("BREAKS  a key is sent as http basic now",),
        gaps=("key http basic",),
    ),
}

# The same in other words.
SPELLINGS = {
    "other words": MadeUp((e.other_words,)),
    "oneOf spelt anyOf": MadeUp((e.spell_unions,)),
    "components renamed": MadeUp((e.rename_components,)),
    "nothing shared": MadeUp((e.inline,)),
    "another order": MadeUp((e.turned(PARTS), e.turned("request.input"))),
    "nullable": MadeUp((e.spell_null("request.provider.zdr", nullable=True),)),
    "null among the values": MadeUp((e.null_in_enum("request.provider.sort.by"),)),
    "an exclusive limit as a boolean": MadeUp(
        (e.exclusive("request.dimensions"),),
        ("BREAKS  dimensions has minimum 1 now",),
        kept=True,
    ),
    "allOf": MadeUp((e.all_of("response.usage"),)),
    "allOf of the preferences": MadeUp((e.all_of("request.provider"),)),
    "JSON with a charset": MadeUp(
        (e.media_type("request", "Application/JSON; charset=utf-8", instead=True),)
    ),
    "no addresses of its own": MadeUp((e.operation(servers=[]),)),
    "a limit that all values keep": MadeUp(
        (
            e.set_keys("request.encoding_format", minLength=1),
            e.set_keys("request.dimensions", multipleOf=1),
        )
    ),
    "nested tags": MadeUp((e.operation(tags=[["Embeddings"]]),)),
    "values as mappings": MadeUp((e.as_mappings("request.encoding_format"),)),
    "the name in another spelling": MadeUp((e.swap_names,)),
    "a scheme of the key twice": MadeUp((e.security_scheme("bearer"),)),
    "a scheme of the key in two ways": MadeUp(
        (e.security_scheme("raw", type="apiKey", name="Authorization", **{"in": "header"}),)
    ),
    "the key as a parameter": MadeUp((e.operation(parameters=[KEY]),)),
}

EDITIONS = {**REQUESTS, **ANSWERS, **SERVICES, **SPELLINGS}
