"""The account of what a new edition changes."""

from pathlib import Path

import pytest

from tools import spec
from tools.documents import SPEC

TEXT = SPEC.read_text()
USER = "                user:\n                  type: string\n"
ITEM = (
    "        index:\n          type: integer\n"
    "          description: Index of the embedding in the input list\n"
)
REQUIRED = "              required:\n                - input\n                - model\n"
PARTS = "EmbeddingsPostRequestBodyContentApplicationJsonSchemaInputOneOf4ItemsContentItems1"
IMAGE = f"        - $ref: >-\n            #/components/schemas/{PARTS}\n"

# An edit of the specification, and the lines of the account that it must lead to.
EDITIONS: dict[str, tuple[str, str, list[str]]] = {
    "an optional request field": (
        USER,
        "                priority:\n                  type: string\n" + USER,
        ["request:", "ok      priority is new", "an option in core/options.py"],
    ),
    "a required request field": (
        REQUIRED,
        REQUIRED + "                - user\n",
        ["BREAKS  user is required now"],
    ),
    "a request field removed": (
        USER + "                  description: A unique identifier for the end-user\n",
        "",
        ["BREAKS  user is gone"],
    ),
    "a request field of another type": (
        "                dimensions:\n                  type: integer\n",
        "                dimensions:\n                  type: string\n",
        ["BREAKS  dimensions is no longer integer", "ok      dimensions may be string now"],
    ),
    "a value added to a request": (
        "        - base64\n",
        "        - base64\n        - binary\n",
        ["ok      encoding_format has the new value binary"],
    ),
    "a value removed from a request": (
        "        - float\n        - base64\n",
        "        - base64\n",
        ["BREAKS  encoding_format no longer has the value float"],
    ),
    "a new required response field": (
        ITEM,
        ITEM + "        kind:\n          type: string\n",
        ["response:", "ok      data[].kind is new"],
    ),
    "a response field removed": (ITEM, "", ["BREAKS  data[].index is gone"]),
    "a response field that may be null": (
        "        id:\n          type: string\n",
        "        id:\n          type:\n            - string\n            - 'null'\n",
        ["BREAKS  id may be null now"],
    ),
    "a response field that is optional now": (
        "      required:\n        - data\n        - model\n        - object\n",
        "      required:\n        - data\n        - object\n",
        ["BREAKS  model is optional now"],
    ),
    "a new status": (
        "        '429':\n",
        "        '413':\n          description: Too large\n        '429':\n",
        ["errors:", "ok      status 413 is new", "its exception in errors.py"],
    ),
    "another media type": (
        "              schema:\n                $ref: '#/components/schemas/Embeddings_create",
        (
            "              schema: {}\n            text/event-stream:\n              schema:\n"
            "                $ref: '#/components/schemas/Embeddings_create"
        ),
        ["BREAKS  may also come as text/event-stream"],
    ),
    "a new operation": (
        "paths:\n",
        (
            "paths:\n  /embeddings/models:\n    get:\n      operationId: list-models\n"
            "      responses:\n        '200':\n          description: ok\n"
        ),
        ["operations:", "ok      GET /embeddings/models is new", "a method of its own"],
    ),
    "an operation renamed": (
        "operationId: create-embeddings",
        "operationId: embed",
        ["BREAKS  create-embeddings is called embed now"],
    ),
    "a nested preference removed": (
        "        zdr:\n          type:\n            - boolean\n            - 'null'\n",
        "        zdr_only:\n          type:\n            - boolean\n            - 'null'\n",
        ["BREAKS  provider.zdr is gone", "ok      provider.zdr_only is new"],
    ),
    "a new content part": (
        IMAGE,
        IMAGE + "        - type: object\n          properties:\n            input_audio:\n"
        "              type: string\n            type:\n              type: string\n"
        "              enum:\n                - input_audio\n",
        ["input[].content[].input_audio is new", "type has the new value input_audio"],
    ),
    "only texts": (
        "description: Submits an embedding request to the embeddings router",
        "description: Embeds",
        ["no difference that a program could meet"],
    ),
    "oneOf spelt anyOf": (
        "      oneOf:\n        - type: string\n",
        "      anyOf:\n        - type: string\n",
        ["no difference that a program could meet"],
    ),
}


@pytest.mark.parametrize("name", EDITIONS)
def test_an_edition_is_accounted_for(name: str, tmp_path: Path) -> None:
    """Grouped, with what can break a caller marked, and what to do next."""
    old, new, lines = EDITIONS[name]
    assert old in TEXT
    account = spec.differences(TEXT.replace(old, new, 1).encode(), SPEC)
    for line in lines:
        assert line in account, account
    target = tmp_path / "openapi.yaml"
    assert spec.take(TEXT.replace(old, new, 1).encode(), target)


def test_the_same_edition_has_no_differences() -> None:
    """Compared with itself."""
    assert spec.differences(TEXT.encode(), SPEC) == "no difference that a program could meet"


def test_spec_diff_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It only says what would be."""
    page = tmp_path / "page.yaml"
    page.write_text(TEXT.replace("operationId: create-embeddings", "operationId: embed"))
    assert spec.main(["--diff", str(page)]) == 0
    assert "create-embeddings is called embed now" in capsys.readouterr().out
    assert SPEC.read_text() == TEXT
