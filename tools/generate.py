"""`make generate`: openapi.yaml → contract → generator's input → generated/.

`--check` writes nothing and fails where generated/ is not what openapi.yaml gives.
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

from tools import ROOT, class_names
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
    """What generator-config.yaml says.

    Attributes:
        operations: what is taken out of a whole document, with the names of the functions.
        names: class names by place.
        options: for openapi-python-client.
    """

    operations: dict[str, str]
    names: dict[str, str]
    options: dict[str, Json]


def read_config(path: Path) -> Config:
    """Read and check the configuration.

    The generator ignores an option that it does not know, so that is refused here.
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
    for key, of, value in (("operations", functions, "a function"), ("names", table, "a class")):
        texts = isinstance(of, dict) and all(isinstance(name, str) for name in of.values())
        if not texts:
            problem = f"`{key}` is not a mapping of texts to the name of {value}"
            raise SpecError(problem, place=(key,))
    for operation, function in functions.items():
        if not function.isidentifier() or not re.fullmatch(r"[A-Z]+ /\S*", operation):
            raise SpecError(
                f"`{operation}: {function}` names no operation, or no function",
                place=("operations",),
                remedy="write a line such as `POST /embeddings: create_embeddings`",
            )
    if unknown := sorted(set(options) - set(ConfigFile.model_fields)):
        raise SpecError(
            f"the generator knows no option {', '.join(unknown)}",
            remedy=f"correct or remove it; known are {', '.join(sorted(ConfigFile.model_fields))}",
        )
    class_names.check_table(table)
    return Config(functions, table, options)


def generate(edition: Edition, config: Config, package: Path, say: Say) -> None:
    """Write the low-level client for `edition` into the new folder `package`.

    Raises SpecError where a document, an option or a name is not as it should be.
    """
    for line in edition.repairs:
        say(f"contract: {line}")
    bent = apply(
        edition.contract, generator_input.RULES, lambda line: say(f"for the generator: {line}")
    )
    for path, operation in operations(bent):
        if function := config.operations.get(operation_name(path)):
            operation["operationId"] = function
    hoisted, classes = class_names.hoist(bent, config.names, config.operations)
    with tempfile.TemporaryDirectory() as scratch:
        source, options = Path(scratch) / "generator-input.json", Path(scratch) / "config.json"
        source.write_text(json.dumps(hoisted))
        options.write_text(json.dumps(config.options))
        _run_generator(source, options, package, edition, classes)
    _finish(package, edition.contract)


def _run_generator(
    source: Path,
    config: Path,
    package: Path,
    edition: Edition,
    classes: list[class_names.NamedClass],
) -> None:
    """The generator in a process of its own, with this environment's ruff first on the PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [
        *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"),
        *("--meta", "none", "--path", str(source), "--config", str(config)),
        *("--output-path", str(package)),
    ]
    done = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise _generator_error(done.stdout + done.stderr, edition, classes)
    missing = {named.name for named in classes} - set(generated_classes(package))
    if missing:
        said = f"Unable to process schema {', '.join(sorted(missing))}\nno class was made of it"
        raise _generator_error(said, edition, classes)


def _generator_error(
    output: str, edition: Edition, classes: list[class_names.NamedClass]
) -> SpecError:
    """What the generator said, as a place in the publisher's document; its words go to a file."""
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text(output)
    log = f"the generator's own words are in {LOG.relative_to(ROOT)}"
    heading = _HEADING.search(output)
    if heading is None:
        return SpecError(
            "openapi-python-client failed before it came to the document",
            remedy=f"see whether {CONFIG.name} has an option that it refuses; {log}",
        )
    said = heading[0]
    longest_first = sorted(classes, key=lambda named: -len(named.name))
    found = next((named for named in longest_first if named.name in said), None)
    operation = re.search(r"parsing ([A-Z]+) (/\S*)", said)
    place: Pointer = ("paths", operation[2], operation[1].lower()) if operation else ("paths",)
    what = ""
    if found:
        place, what = found.origin, f" ({found.places[0]})"
    reasons = [line for line in said.splitlines()[1:] if line.strip()]
    reason = f": {one_line(reasons[0], 120)}" if reasons else ""
    error = SpecError(
        f"openapi-python-client cannot express what stands here{what}{reason}",
        place=place,
        remedy=f"add a rule to tools/rules/generator_input.py that says it more simply; {log}",
    )
    return edition.with_line(error)


# What the generator writes above each thing that it cannot express.
_HEADING = re.compile(
    r"(WARNING parsing|ERROR parsing|Unable to (parse|process) schema) .*", re.DOTALL
)


def generated_classes(package: Path) -> list[str]:
    """Every name that the generated package's `models` exports."""
    tree = ast.parse((package / "models" / "__init__.py").read_text())
    return [
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def _finish(package: Path, contract: dict[str, Json]) -> None:
    """What the generator does not do with `--meta none`: marker, banner, and the contract."""
    (package / "py.typed").write_text("")
    (package / "contract.json").write_text(
        json.dumps(contract, indent=1, ensure_ascii=False) + "\n"
    )
    for module in sorted(package.rglob("*.py")):
        module.write_text(BANNER + module.read_text())


def differences(committed: Path, fresh: Path) -> list[str]:
    """Files that are missing, left over or different, by their paths below the package."""
    ours = {p.relative_to(committed) for p in committed.rglob("*") if _is_compared(p)}
    theirs = {p.relative_to(fresh) for p in fresh.rglob("*") if _is_compared(p)}
    differ = {p for p in ours & theirs if not filecmp.cmp(committed / p, fresh / p, shallow=False)}
    return sorted(
        [f"{p} is missing" for p in theirs - ours]
        + [f"{p} is left over" for p in ours - theirs]
        + [f"{p} differs" for p in differ]
    )


def _is_compared(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


@contextmanager
def atomic_replace(target: Path, then: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A new folder beside `target` that takes its place when the block ends well.

    Until then `target` stays as it is. `then` is done with it: both, or neither.
    """
    new, old = target.with_name(target.name + ".new"), target.with_name(target.name + ".old")
    if old.exists() and not target.exists():  # a run before was killed between two lines of _swap
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
    """Let a Ctrl-C wait until the block is done."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Generate or check; 0 when generated/ is what openapi.yaml gives."""
    parser = argparse.ArgumentParser(prog="make generate", description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(arguments).check
    try:
        edition, config = parse_edition(SPEC.read_bytes()), read_config(CONFIG)
        if check:
            return _check(edition, config)
        with atomic_replace(PACKAGE) as fresh:
            generate(edition, config, fresh, say=print)
            found = differences(PACKAGE, fresh)
    except (SpecError, OSError) as error:
        print(f"generate: {error}", file=sys.stderr)
        print("generate: generated/ stays as it was", file=sys.stderr)
        return 1
    print(f"generated/: {len(found)} files changed" if found else "generated/: unchanged")
    return 0


def _check(edition: Edition, config: Config) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / PACKAGE.name
        generate(edition, config, fresh, say=lambda _: None)
        found = differences(PACKAGE, fresh)
    for line in found:
        print(f"check: generated/{PACKAGE.name}/{line}", file=sys.stderr)
    if found:
        print("check: run make generate and commit what it writes", file=sys.stderr)
    else:
        print("check: generated/ is what openapi.yaml gives")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
