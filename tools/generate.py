"""`make generate`: openapi.yaml → contract → generator's input → generated/.

`--check` writes nothing, and fails if generated/ does not match openapi.yaml.
"""

import argparse
import ast
import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openapi_python_client.config import ConfigFile

from tools import ROOT
from tools.class_names import NamedClass, check_table, move_classes_to_components
from tools.editions import Edition, parse_edition
from tools.openapi import (
    DEFAULT_REMEDY,
    SPEC,
    Json,
    Pointer,
    SpecError,
    load,
    one_line,
    operation_name,
    operations,
)
from tools.rules import apply, generator_input

CONFIG = ROOT / "generator-config.yaml"
PACKAGE = ROOT / "generated" / "openrouter_embeddings_api"
LOG = ROOT / "dist" / "generator.log"
BANNER = "# DO NOT EDIT: written by `make generate` from openapi.yaml.\n"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Config:
    """The contents of generator-config.yaml.

    Attributes:
        operations: the operations to select from a whole document, and their function names.
        names: class names by place.
        arguments: command-line arguments of openapi-python-client.
        options: its configuration file.
    """

    operations: dict[str, str]
    names: dict[str, str]
    arguments: list[str]
    options: dict[str, Json]


def read_config(path: Path) -> Config:
    """Read and check the configuration. Raises SpecError.

    The generator ignores unknown options, so they are rejected here.
    """
    try:
        return _checked_config(load(path.read_bytes()))
    except OSError as error:
        raise _about(path, SpecError(str(error.strerror))) from None
    except SpecError as error:
        raise _about(path, error) from None


def _about(path: Path, error: SpecError) -> SpecError:
    error.file = path.name
    error.remedy = f"git checkout {path.name}" if error.remedy == DEFAULT_REMEDY else error.remedy
    return error


def _checked_config(options: dict[str, Json]) -> Config:
    functions, table = options.pop("operations", {}), options.pop("names", {})
    arguments = options.pop("arguments", [])
    for key, of, value in (("operations", functions, "function"), ("names", table, "class")):
        if not (isinstance(of, dict) and all(isinstance(name, str) for name in of.values())):
            raise SpecError(f"`{key}` must map strings to {value} names", place=(key,))
    if not (isinstance(arguments, list) and all(isinstance(each, str) for each in arguments)):
        raise SpecError("`arguments` must be a list of strings", place=("arguments",))
    for operation, function in functions.items():
        if not function.isidentifier() or not re.fullmatch(r"[A-Z]+ /\S*", operation):
            raise SpecError(
                f"`{operation}: {function}` is not an operation and a function name",
                place=("operations",),
                remedy="write a line such as `POST /embeddings: create_embeddings`",
            )
    if unknown := sorted(set(options) - set(ConfigFile.model_fields)):
        raise SpecError(
            f"unknown generator option {', '.join(unknown)}",
            remedy=f"correct or remove it; known: {', '.join(sorted(ConfigFile.model_fields))}",
        )
    check_table(table)
    return Config(functions, table, arguments, options)


def generate(edition: Edition, config: Config, package: Path, say: Say) -> None:
    """Write the low-level client for `edition` into the new folder `package`.

    Raises SpecError if the document, an option or a name is invalid.
    """
    for line in edition.repairs:
        say(f"contract: {line}")
    simplified = apply(
        edition.contract, generator_input.RULES, lambda line: say(f"for the generator: {line}")
    )
    for path, operation in operations(simplified):
        if function := config.operations.get(operation_name(path)):
            operation["operationId"] = function
    hoisted, classes = move_classes_to_components(simplified, config.names, config.operations)
    with tempfile.TemporaryDirectory() as scratch:
        source, options = Path(scratch) / "generator-input.json", Path(scratch) / "config.json"
        source.write_text(json.dumps(hoisted))
        options.write_text(json.dumps(config.options))
        paths = [f"--path={source}", f"--config={options}", f"--output-path={package}"]
        _run_generator([*config.arguments, *paths], edition, classes, package)
    _finish(package, edition.contract)


def _run_generator(
    arguments: list[str], edition: Edition, classes: list[NamedClass], package: Path
) -> None:
    """Run the generator in a subprocess, with this environment's ruff first on the PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "openapi_python_client", "generate", *arguments]
    done = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise _generator_error(done.stdout + done.stderr, edition, classes)
    missing = {named.name for named in classes} - set(generated_classes(package))
    if missing:
        output = f"Unable to process schema {', '.join(sorted(missing))}\nit has no class"
        raise _generator_error(output, edition, classes)


def _generator_error(output: str, edition: Edition, classes: list[NamedClass]) -> SpecError:
    """Turn the generator's output into an error with a place in the document; log the output."""
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text(output)
    log = f"the generator's output is in {LOG.relative_to(ROOT)}"
    heading = _HEADING.search(output)
    if heading is None:
        return SpecError(
            "openapi-python-client failed before it read the document",
            remedy=f"check the options in {CONFIG.name}; {log}",
        )
    text = heading[0]
    longest_first = sorted(classes, key=lambda named: -len(named.name))
    found = next((named for named in longest_first if named.name in text), None)
    operation = re.search(r"parsing ([A-Z]+) (/\S*)", text)
    place: Pointer = ("paths", operation[2], operation[1].lower()) if operation else ("paths",)
    what = ""
    if found:
        place, what = found.origin, f" ({found.places[0]})"
    reasons = [line for line in text.splitlines()[1:] if line.strip()]
    reason = f": {one_line(reasons[0], 120)}" if reasons else ""
    error = SpecError(
        f"openapi-python-client cannot express this{what}{reason}",
        place=place,
        remedy=f"add a rule to tools/rules/generator_input.py that simplifies it; {log}",
    )
    return edition.with_line(error)


# The generator writes one of these above everything that it cannot express.
_HEADING = re.compile(
    r"(WARNING parsing|ERROR parsing|Unable to (parse|process) schema) .*", re.DOTALL
)


def generated_classes(package: Path) -> list[str]:
    """List the names that `models` of the generated package exports."""
    tree = ast.parse((package / "models" / "__init__.py").read_text())
    return [
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def _finish(package: Path, contract: dict[str, Json]) -> None:
    """Add what the generator does not write with `--meta=none`: py.typed, banners, the contract."""
    (package / "py.typed").write_text("")
    (package / "contract.json").write_text(
        json.dumps(contract, indent=1, ensure_ascii=False) + "\n"
    )
    for module in sorted(package.rglob("*.py")):
        module.write_text(BANNER + module.read_text())


def changed_files(committed: Path, fresh: Path) -> list[str]:
    """List the files that are missing, stale or different, by their paths in the package."""
    old = {p.relative_to(committed) for p in committed.rglob("*") if _is_compared(p)}
    new = {p.relative_to(fresh) for p in fresh.rglob("*") if _is_compared(p)}
    differ = {p for p in old & new if not filecmp.cmp(committed / p, fresh / p, shallow=False)}
    return sorted(
        [f"{p} is missing" for p in new - old]
        + [f"{p} is stale" for p in old - new]
        + [f"{p} differs" for p in differ]
    )


def _is_compared(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


@contextmanager
def atomic_replace(target: Path, then: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Yield a path for a new folder, which replaces `target` if the block succeeds.

    `then` is called with the replacement: if it fails, `target` is restored.
    """
    new, old = target.with_name(target.name + ".new"), target.with_name(target.name + ".old")
    if old.exists() and not target.exists():  # an earlier run was killed in _swap
        old.rename(target)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        yield new
        with _delayed_interrupt():
            _swap(new, target, old, then)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _swap(new: Path, target: Path, old: Path, then: Callable[[], None]) -> None:
    if not new.is_dir():
        raise FileNotFoundError(new)
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
        then()
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        if old.exists():
            old.rename(target)
        raise


@contextmanager
def _delayed_interrupt() -> Iterator[None]:
    """Delay a Ctrl-C until the block ends."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Generate or check; return 0 on success."""
    parser = argparse.ArgumentParser(prog="make generate", description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(arguments).check
    try:
        edition, config = parse_edition(SPEC.read_bytes()), read_config(CONFIG)
        if check:
            return _check(edition, config)
        with atomic_replace(PACKAGE) as fresh:
            generate(edition, config, fresh, say=print)
            found = changed_files(PACKAGE, fresh)
    except (SpecError, OSError) as error:
        print(f"generate: {error}", file=sys.stderr)
        print("generate: generated/ is unchanged", file=sys.stderr)
        return 1
    print(f"generated/: {len(found)} files changed" if found else "generated/: unchanged")
    return 0


def _check(edition: Edition, config: Config) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / PACKAGE.name
        generate(edition, config, fresh, say=lambda _: None)
        found = changed_files(PACKAGE, fresh)
    for line in found:
        print(f"check: generated/{PACKAGE.name}/{line}", file=sys.stderr)
    if found:
        print("check: run make generate and commit the result", file=sys.stderr)
    else:
        print("check: generated/ matches openapi.yaml")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
