"""Names people can say: what generator-config.yaml overrides, and what it forgot."""

import ast
import re
from pathlib import Path

from openapi_python_client.config import ConfigFile

from tools.documents import Json, SpecError, load

_MACHINE_MADE = re.compile(
    r"OneOf\d|AnyOf\d|AllOf\d|Items\d|Type\d+$|ApplicationJsonSchema|PostRe(quest|sponse)|\d{3}$"
)
_LONGEST = 36


def read_overrides(config: Path) -> dict[str, str]:
    """`class_overrides` of the generator's configuration: the class it makes → the class we want.

    The generator ignores an option it does not know, so that is refused here.
    """
    options: dict[str, Json] = load(config.read_bytes())
    if unknown := sorted(set(options) - set(ConfigFile.model_fields)):
        raise SpecError(f"{config.name}: the generator knows no option {', '.join(unknown)}")
    overrides = options.get("class_overrides") or {}
    for key, value in overrides.items():
        if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
            raise SpecError(f"{config.name}: the override {key} has no class_name")
    return {key: value["class_name"] for key, value in overrides.items()}


def generated_classes(package: Path) -> list[str]:
    """Every name that the generated package's `models` exports."""
    tree = ast.parse((package / "models" / "__init__.py").read_text())
    return [
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def complain(overrides: set[str], matched: set[str], names: list[str]) -> list[str]:
    """What is wrong with the names, a line each: idle overrides and machine-made names left."""
    idle = sorted(overrides - matched)
    left = sorted({n for n in names if _MACHINE_MADE.search(n) or len(n) > _LONGEST})
    return [
        *(f"the override {key} matches nothing: {_remedy(key, left)}" for key in idle),
        *(f"the name {name} is machine-made: give it one in class_overrides" for name in left),
    ]


def _remedy(key: str, left: list[str]) -> str:
    """Numbers in names shift when the publisher inserts an alternative before another."""
    moved = [name for name in left if re.sub(r"\d+", "", name) == re.sub(r"\d+", "", key)]
    return f"its place may be taken by {' or '.join(moved)}" if moved else "rename or remove it"


def reshaped(overrides: dict[str, str], before: Path, after: Path) -> list[str]:
    """Classes named after a number that hold other fields than they did, a line each.

    An alternative that was inserted takes the number, and so the name, of the one that stood there.
    """
    lines = []
    for key, name in overrides.items():
        was, now = (_fields(package).get(name, set()) for package in (before, after))
        if re.search(r"\d", key) and was - now:
            lines.append(
                f"{name} had {', '.join(sorted(was))} and has {', '.join(sorted(now))} now: "
                f"does {key} still mean it, or have the numbers shifted?"
            )
    return lines


def _fields(package: Path) -> dict[str, set[str]]:
    """The fields of every model of a generated package."""
    return {
        node.name: {
            line.target.id
            for line in node.body
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        }
        for module in package.glob("models/*.py")
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
