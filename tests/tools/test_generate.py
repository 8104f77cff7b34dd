"""Generation: reproducible, named by people, and loud about what it does not understand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.documents import SPEC, SpecError
from tools.generate import BANNER, CONFIG, PACKAGE, differences, generate


def made(tmp_path: Path, config: str | None = None, spec: str | None = None) -> Path:
    """A package generated from edited copies of the configuration and the specification."""
    config_path, spec_path = tmp_path / "generator-config.yaml", tmp_path / "openapi.yaml"
    config_path.write_text(CONFIG.read_text() if config is None else config)
    spec_path.write_text(SPEC.read_text() if spec is None else spec)
    package = tmp_path / PACKAGE.name
    generate(spec_path, config_path, package, lambda _: None)
    return package


def test_what_is_committed_is_what_the_spec_gives(tmp_path: Path) -> None:
    """Byte for byte, so generation is reproducible and nobody has edited its output."""
    assert differences(PACKAGE, made(tmp_path)) == []


def test_every_module_says_that_it_is_generated() -> None:
    """In its first line, with the command; the package is typed."""
    modules = [*PACKAGE.rglob("*.py")]
    assert len(modules) > 40
    assert all(module.read_text().startswith(BANNER) for module in modules)
    assert "make generate" in BANNER


def test_hash_seeds_change_nothing() -> None:
    """`make check` in a process with another seed."""
    for seed in ("1", "4242"):
        done = subprocess.run(
            [sys.executable, "-m", "tools.generate", "--check"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=SPEC.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (
            0,
            "check: generated/ is what openapi.yaml gives\n",
        )


def test_edited_missing_and_stray_files_are_found(tmp_path: Path) -> None:
    """Each by its name."""
    copy = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "client.py").write_text("edited")
    (copy / "types.py").unlink()
    (copy / "models" / "stray.py").write_text("")
    assert differences(copy, PACKAGE) == [
        "client.py differs",
        "models/stray.py is left over",
        "types.py is missing",
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("class_overrides:\n", "class_overrides:\n  Nobody: { class_name: X }\n", "Nobody matches"),
        ("literal_enums: true", "literal_enum: true", "knows no option literal_enum"),
        (
            "DataItems: { class_name: EmbeddingItem }",
            "DataItms: { class_name: X }",
            "DataItms match",
        ),
        (
            "DataItems: { class_name: EmbeddingItem }",
            "DataItms: { class_name: X }",
            "DataItems is mac",
        ),
        (
            "{ class_name: Usage }",
            "{ class_name: ImageUrl }",
            "two components would be",
        ),
        ("{ class_name: Usage }", "{ name: Usage }", "has no class_name"),
        ("BadRequestMetadata, ", "BadRequestMetadataType0, ", "BadRequestMetadataType0 is machine"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    """Idle overrides, unknown options and machine-made names that are left, each by name."""
    assert old in CONFIG.read_text()
    with pytest.raises(SpecError, match=words):
        made(tmp_path, config=CONFIG.read_text().replace(old, new))


def test_an_endpoint_that_the_generator_would_drop_is_an_error(tmp_path: Path) -> None:
    """It warns and ends well by itself; here a warning is a failure."""
    head, body, tail = SPEC.read_text().partition("      requestBody:\n")
    spec = head + body + tail.replace("application/json:", "application/strange:", 1)
    assert spec != SPEC.read_text()
    with pytest.raises(SpecError, match="the generator refused"):
        made(tmp_path, spec=spec)
