"""The repaired contract: what the published document means, minus what its renderer did to it.

Each rule is general, names no field, and so survives a new edition. The contract is the oracle of
every test and what the stand-in validates against; the generator's input is never that.
"""

from tools.documents import Json, Path_, mappings, operations
from tools.rules import Rule


def apply_declared_security(document: dict[str, Json]) -> list[Path_]:
    """OpenAPI 3.1 ignores a header parameter named Authorization; the scheme is what counts.

    https://spec.openapis.org/oas/v3.1.1.html#parameter-object
    """
    changed: list[Path_] = []
    schemes = document.get("components", {}).get("securitySchemes", {})
    for path, operation in operations(document):
        parameters = operation.get("parameters", [])
        kept = [
            p
            for p in parameters
            if not (p.get("in") == "header" and p.get("name", "").lower() == "authorization")
        ]
        if len(kept) < len(parameters):
            changed.append((*path, "parameters"))
            operation["parameters"] = kept
            if not kept:
                del operation["parameters"]
        if schemes and "security" not in operation and "security" not in document:
            changed.append((*path, "security"))
            operation["security"] = [{name: []} for name in schemes]
    return changed


def require_the_body(document: dict[str, Json]) -> list[Path_]:
    """The renderer leaves out `required: true`; a POST without its body means nothing here."""
    changed: list[Path_] = []
    for path, operation in operations(document):
        body = operation.get("requestBody")
        if body is not None and not body.get("required"):
            body["required"] = True
            changed.append((*path, "requestBody"))
    return changed


def one_of_to_any_of(document: dict[str, Json]) -> list[Path_]:
    """The renderer prints every union as oneOf; where alternatives overlap, valid values fail.

    `"OpenAI"` is both a known provider name and a string, `[]` matches four kinds of input.
    """
    changed: list[Path_] = []
    for path, node in mappings(document):
        if isinstance(node.get("oneOf"), list):
            # in place of the old key, so that the order of the document stays
            items = [("anyOf" if key == "oneOf" else key, value) for key, value in node.items()]
            node.clear()
            node.update(items)
            changed.append(path)
    return changed


def drop_any_type_alternatives(document: dict[str, Json]) -> list[Path_]:
    """`{description: Any type}` stands for what the renderer could not print, and swallows all."""
    changed: list[Path_] = []
    for path, node in mappings(document):
        alternatives = node.get("anyOf")
        if isinstance(alternatives, list):
            kept = [a for a in alternatives if set(a) - {"description", "title"}]
            if kept and len(kept) < len(alternatives):
                node["anyOf"] = kept
                changed.append(path)
    return changed


def empty_object_to_any_value(document: dict[str, Json]) -> list[Path_]:
    """A price is printed as `{type: object, properties: {}}`: the renderer lost its type."""
    changed: list[Path_] = []
    for path, node in mappings(document):
        if node.get("type") == "object" and node.get("properties") == {}:
            del node["type"], node["properties"]
            changed.append(path)
    return changed


RULES: tuple[Rule, ...] = (
    apply_declared_security,
    require_the_body,
    one_of_to_any_of,
    drop_any_type_alternatives,
    empty_object_to_any_value,
)
