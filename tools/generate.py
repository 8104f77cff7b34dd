"""`make generate`: openapi.yaml → contract → generator's input → generated/.

`--check` writes nothing and fails where generated/ is not what openapi.yaml gives.
"""

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools import ROOT, contract, generator_input
from tools.documents import SPEC, Json, SpecError, load, validate
from tools.names import complain, generated_classes, read_overrides, reshaped
from tools.rules import apply

CONFIG = ROOT / "generator-config.yaml"
PACKAGE = ROOT / "generated" / "openrouter_embeddings_api"
BANNER = "# DO NOT EDIT: written by `make generate` from openapi.yaml.\n"

Say = Callable[[str], None]


def generate(spec: Path, config: Path, package: Path, say: Say) -> None:
    """Write the low-level client for `spec` into the new folder `package`.

    Raises SpecError where a document, an option or a name is not as it should be.
    """
    document = load(spec.read_bytes())
    validate(document)
    repaired = apply(document, contract.RULES, lambda line: say(f"contract: {line}"))
    bent = apply(repaired, generator_input.RULES, lambda line: say(f"for the generator: {line}"))
    overrides = read_overrides(config)
    matched = generator_input.rename_components(bent, overrides)

    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "generator-input.json"
        source.write_text(json.dumps(bent))
        no_overrides = Path(scratch) / "config.json"
        no_overrides.write_text('{"literal_enums": true, "post_hooks": []}')
        _run_generator(source, no_overrides, Path(scratch) / "natural")
        matched |= set(overrides) & set(generated_classes(Path(scratch) / "natural"))
        _run_generator(source, config, package)

    components = map(generator_input.class_name, bent.get("components", {}).get("schemas", {}))
    names = [*generated_classes(package), *components]
    if complaints := complain(set(overrides), matched, names):
        raise SpecError(f"{config.name}: " + f"\n{config.name}: ".join(complaints))
    for line in reshaped(overrides, PACKAGE, package):
        say(f"LOOK: {line}")
    _finish(package, repaired)


def _run_generator(source: Path, config: Path, package: Path) -> None:
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
        raise SpecError(f"the generator refused: {(done.stdout + done.stderr).strip()}")


def _finish(package: Path, repaired: dict[str, Json]) -> None:
    """What the generator does not do with `--meta none`: marker, banner, and the contract."""
    (package / "py.typed").write_text("")
    (package / "contract.json").write_text(
        json.dumps(repaired, indent=1, ensure_ascii=False) + "\n"
    )
    for module in sorted(package.rglob("*.py")):
        module.write_text(BANNER + module.read_text())


def differences(committed: Path, fresh: Path) -> list[str]:
    """Files that are missing, left over or different, by their paths below the package."""
    ours = {p.relative_to(committed) for p in committed.rglob("*") if _counts(p)}
    theirs = {p.relative_to(fresh) for p in fresh.rglob("*") if _counts(p)}
    differ = {p for p in ours & theirs if not filecmp.cmp(committed / p, fresh / p, shallow=False)}
    return sorted(
        [f"{p} is missing" for p in theirs - ours]
        + [f"{p} is left over" for p in ours - theirs]
        + [f"{p} differs" for p in differ]
    )


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def main(arguments: list[str]) -> int:
    """Generate or check; 0 when generated/ is what openapi.yaml gives."""
    parser = argparse.ArgumentParser(prog="make generate", description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(arguments).check
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / PACKAGE.name
        try:
            generate(SPEC, CONFIG, fresh, say=(lambda _: None) if check else print)
        except SpecError as error:
            print(f"generate: {error}", file=sys.stderr)
            return 1
        found = differences(PACKAGE, fresh)
        if check:
            for line in found:
                print(f"check: generated/{PACKAGE.name}/{line}", file=sys.stderr)
            if found:
                print("check: run make generate and commit what it writes", file=sys.stderr)
            else:
                print("check: generated/ is what openapi.yaml gives")
            return 1 if found else 0
        shutil.rmtree(PACKAGE, ignore_errors=True)
        shutil.copytree(fresh, PACKAGE)
    print(f"generated/: {len(found)} files changed" if found else "generated/: unchanged")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
