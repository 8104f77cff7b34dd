"""Editions that the publisher may bring, as edits of today's, and who has to notice each."""

from dataclasses import dataclass

from tools.documents import SPEC

TEXT = SPEC.read_text()


@dataclass(frozen=True)
class Edition:
    """An edit of the specification and what is said of it.

    Attributes:
        edits: texts and what takes their place.
        account: lines of the account of changes.
        names: what generation says, where it asks for a name.
        gaps: what the drift test lists.
        types: what the type checker says of the wrapper against the new client.
        tests: which of the wrapper's own tests says that the stand-in lacks something.
        everywhere: replace all occurrences.
    """

    edits: tuple[tuple[str, str], ...]
    account: tuple[str, ...]
    names: str | None = None
    gaps: tuple[str, ...] = ()
    types: str | None = None
    tests: str | None = None
    everywhere: bool = False

    @property
    def text(self) -> str:
        """The whole document."""
        text = TEXT
        for old, new in self.edits:
            assert old in text, f"this edit no longer applies; adapt it: {old!r}"
            assert new in old or new not in text, f"today has it already; adapt: {new!r}"
            text = text.replace(old, new, -1 if self.everywhere else 1)
        return text

    @property
    def harmless(self) -> bool:
        """Whether a caller, a name and a type can stay as they are."""
        return not (self.names or self.types or any("BREAKS" in line for line in self.account))


NOTHING = ("no difference that a program could meet",)
USER = "                user:\n                  type: string\n"
USER_TEXT = "                  description: A unique identifier for the end-user\n"
INDEX = (
    "        index:\n          type: integer\n"
    "          description: Index of the embedding in the input list\n"
)
REQUIRED = "              required:\n                - input\n                - model\n"
BODY = "EmbeddingsPostRequestBodyContentApplicationJsonSchema"
IMAGE = (
    f"        - $ref: >-\n            #/components/schemas/{BODY}InputOneOf4ItemsContentItems1\n"
)
USAGE = (
    "          $ref: >-\n"
    "            #/components/schemas/EmbeddingsPostResponsesContentApplicationJsonSchemaUsage\n"
)
ANSWER = "              schema:\n                $ref: '#/components/schemas/Embeddings_create"
NUMBERS = "        - type: array\n          items:\n            type: number\n"
NUMBERS += "            format: double\n"
ALL_INPUTS = TEXT[TEXT.index(f"    {BODY}Input:\n") :].partition("      description: ")[0]
TEXT_INPUTS = ALL_INPUTS[: ALL_INPUTS.index(NUMBERS)]
ITEM = "EmbeddingsPostResponsesContentApplicationJsonSchemaDataItems"

EDITIONS = {
    "an optional request field": Edition(
        ((USER, "                priority:\n                  type: string\n" + USER),),
        ("request:", "ok      priority is new", "an option in core/options.py"),
        gaps=("request field priority",),
    ),
    "a required request field": Edition(
        ((REQUIRED, REQUIRED + "                - user\n"),),
        ("BREAKS  user is required now",),
        types='Argument "user" to "EmbeddingRequest" has incompatible type',
    ),
    "a request field removed": Edition(
        ((USER + USER_TEXT, ""),),
        ("BREAKS  user is gone",),
        types='Unexpected keyword argument "user"',
    ),
    "a request field of another type": Edition(
        (
            (
                "                dimensions:\n                  type: integer\n",
                "                dimensions:\n                  type: string\n",
            ),
        ),
        ("BREAKS  dimensions is no longer integer", "ok      dimensions may be string now"),
        gaps=("request field dimensions",),
        types='has incompatible type "int | None"; expected "str',
    ),
    "a limit on the request": Edition(
        (
            (
                "        - type: array\n          items:\n            type: string\n",
                (
                    "        - type: array\n          maxItems: 64\n          items:\n"
                    "            type: string\n"
                ),
            ),
        ),
        ("BREAKS  input has maxItems 64 now",),
    ),
    "a value added to a request": Edition(
        (("        - base64\n", "        - base64\n        - binary\n"),),
        ("ok      encoding_format has the new value binary",),
    ),
    "a value removed from a request": Edition(
        (("        - float\n        - base64\n", "        - base64\n"),),
        ("BREAKS  encoding_format no longer has the value float",),
        names="EncodingFormat matches nothing: rename or remove it",
    ),
    "another provider": Edition(
        (("        - AkashML\n", "        - AkashML\n        - Acme\n"),),
        ("ok      provider.order[] has the new value Acme",),
    ),
    "a header that has to be sent": Edition(
        (
            (
                "      parameters:\n",
                (
                    "      parameters:\n        - name: X-Title\n          in: header\n"
                    "          required: true\n          schema:\n            type: string\n"
                ),
            ),
        ),
        ("BREAKS  header X-Title is new and required",),
    ),
    "a nested preference renamed": Edition(
        (("        zdr:\n", "        zdr_only:\n"),),
        ("BREAKS  provider.zdr is gone", "ok      provider.zdr_only is new"),
    ),
    "a new content part": Edition(
        (
            (
                IMAGE,
                IMAGE + "        - type: object\n          properties:\n            input_audio:\n"
                "              type: string\n            type:\n              type: string\n"
                "              enum:\n                - input_audio\n",
            ),
        ),
        ("input[].content[].input_audio is new", "type has the new value input_audio"),
        names="the name ContentPartType2 is machine-made: give it one",
        gaps=("content part input_audio",),
    ),
    "an alternative before another": Edition(
        (("ContentItems1", "ContentItems2"), ("ItemsOneOf1", "ItemsOneOf2")),
        NOTHING,
        names=r"ContentItems1 matches nothing: its place may be taken by \w+ContentItems2",
        everywhere=True,
    ),
    "only texts": Edition(
        ((ALL_INPUTS, TEXT_INPUTS),),
        ("BREAKS  input[].content is gone",),
        names="ContentItems0 matches nothing: rename or remove it",
    ),
    "a new response field": Edition(
        ((INDEX, INDEX + "        kind:\n          type: string\n"),),
        ("response:", "ok      data[].kind is new"),
        gaps=("response field data[].kind",),
    ),
    "a new required response field": Edition(
        (
            (INDEX, INDEX + "        kind:\n          type: string\n"),
            (
                "      required:\n        - embedding\n",
                "      required:\n        - kind\n        - embedding\n",
            ),
        ),
        ("ok      data[].kind is new and required",),
        gaps=("response field data[].kind",),
        tests="test_the_low_level_client_works_by_itself",
    ),
    "a response field removed": Edition(((INDEX, ""),), ("BREAKS  data[].index is gone",)),
    "a response field that may be null": Edition(
        (
            (
                "        id:\n          type: string\n",
                "        id:\n          type:\n            - string\n            - 'null'\n",
            ),
        ),
        ("BREAKS  id may be null now",),
    ),
    "usage may be null": Edition(
        (
            (
                USAGE,
                "          oneOf:\n            - $ref: >-\n                "
                + USAGE.rpartition(">-\n")[2].lstrip()
                + "            - type: 'null'\n",
            ),
        ),
        ("BREAKS  usage may be null now",),
    ),
    "a response field that is optional now": Edition(
        (
            (
                "      required:\n        - data\n        - model\n        - object\n",
                "      required:\n        - data\n        - object\n",
            ),
        ),
        ("BREAKS  model is optional now",),
    ),
    "vectors as strings alone": Edition(
        (
            (
                f"{NUMBERS}        - type: string\n",
                "        - type: string\n",
            ),
        ),
        ("BREAKS  data[].embedding",),
    ),
    "a schema that contains itself": Edition(
        (
            (
                INDEX,
                INDEX + "        chunks:\n          type: array\n          items:\n"
                f"            $ref: '#/components/schemas/{ITEM}'\n",
            ),
        ),
        ("ok      data[].chunks is new",),
        gaps=("response field data[].chunks",),
    ),
    "a new status": Edition(
        (
            (
                "        '429':\n",
                "        '409':\n          description: Conflict\n        '429':\n",
            ),
        ),
        ("errors:", "ok      status 409 is new", "EXCEPTIONS in tests/contract/test_client.py"),
        gaps=("status 409",),
    ),
    "another media type": Edition(
        (
            (
                ANSWER,
                "              schema: {}\n            text/event-stream:\n" + ANSWER,
            ),
        ),
        ("BREAKS  may be text/event-stream now",),
    ),
    "another success": Edition(
        (("        '200':\n", "        '201':\n"),),
        ("BREAKS  status 200 is gone", "BREAKS  status 201 is new"),
        gaps=("no response 200",),
    ),
    "a parameter of the path": Edition(
        (
            (
                "    post:\n",
                (
                    "    parameters:\n      - name: q\n        in: query\n        required: true\n"
                    "        schema:\n          type: string\n    post:\n"
                ),
            ),
        ),
        ("BREAKS  query q is new and required",),
    ),
    "numbers of dimensions": Edition(
        (
            (
                "                dimensions:\n                  type: integer\n",
                "                dimensions:\n                  type: number\n",
            ),
        ),
        ("ok      dimensions may be number now",),
    ),
    "no other fields": Edition(
        ((REQUIRED, REQUIRED + "              additionalProperties: false\n"),),
        ("BREAKS  the whole has no room for other fields now",),
    ),
    "another form of the request": Edition(
        (
            (
                "      requestBody:\n        content:\n          application/json:\n",
                "      requestBody:\n        content:\n          multipart/form-data:\n",
            ),
        ),
        ("ok      may be multipart/form-data now", "BREAKS  is no longer application/json"),
    ),
    "a new operation": Edition(
        (
            (
                "paths:\n",
                (
                    "paths:\n  /embeddings/models:\n    get:\n      operationId: list-models\n"
                    "      responses:\n        '200':\n          description: ok\n"
                ),
            ),
        ),
        ("operations:", "ok      GET /embeddings/models is new", "a method of its own"),
        gaps=("operation GET /embeddings/models",),
    ),
    "an operation renamed": Edition(
        (("operationId: create-embeddings", "operationId: embed"),),
        ("BREAKS  create-embeddings is called embed now",),
        names="CreateEmbeddingsBody matches nothing: rename or remove it",
    ),
    "a schema renamed": Edition(
        (("ProviderPreferencesDataCollection", "DataPolicyOfTheProvider"),),
        NOTHING,
        names="ProviderPreferencesDataCollection matches nothing",
        everywhere=True,
    ),
    "another address": Edition(
        (("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v2"),),
        ("service:", "BREAKS  its address is https://openrouter.ai/api/v2 now"),
    ),
    "another way to send the key": Edition(
        (("      scheme: bearer\n", "      scheme: basic\n"),),
        ("BREAKS  a key is sent as http basic now",),
    ),
    "other words": Edition(
        (("description: Submits an embedding request", "description: Embeds, given a request"),),
        NOTHING,
    ),
    "oneOf spelt anyOf": Edition(
        (("      oneOf:\n        - type: string\n", "      anyOf:\n        - type: string\n"),),
        NOTHING,
    ),
}
