"""Generating the client: reproducible, all or nothing, with clear errors."""

import copy
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import ended
from tests.tools.real_editions import REAL, edition
from tools import generate as command
from tools.editions import Edition
from tools.generate import (
    BANNER,
    CONFIG,
    PACKAGE,
    atomic_replace,
    changed_files,
    generate,
    generated_classes,
    read_config,
)
from tools.openapi import SPEC, SpecError


def made(tmp_path: Path, given: Edition | None = None) -> Path:
    """Generate a package from an edition, by default the current one."""
    package = tmp_path / PACKAGE.name
    generate(given or edition(SPEC.name), read_config(CONFIG), package, lambda _: None)
    return package


def changed(edit: Any) -> Edition:
    """Return the current edition with an edited contract."""
    today = edition(SPEC.name)
    contract = copy.deepcopy(today.contract)
    edit(contract)
    return replace(today, contract=contract)


def test_the_committed_client_matches_the_specification(tmp_path: Path) -> None:
    """It is the same byte for byte, so generation is reproducible and nobody edited the output."""
    assert changed_files(PACKAGE, made(tmp_path)) == []


@pytest.mark.parametrize("name", REAL)
def test_a_client_is_generated_from_every_real_edition(name: str, tmp_path: Path) -> None:
    """It has the classes that the wrapper needs."""
    classes = generated_classes(made(tmp_path, edition(name)))
    assert "ProviderPreferences" in classes
    assert "EmbeddingRequest" in classes


def test_every_module_says_that_it_is_generated() -> None:
    """The first line names the command."""
    modules = [*PACKAGE.rglob("*.py")]
    assert len(modules) > 40
    assert all(module.read_text().startswith(BANNER) for module in modules)
    assert "make generate" in BANNER


def test_hash_seeds_change_nothing() -> None:
    """`make check` passes in processes with other hash seeds."""
    for seed in ("1", "4242"):
        done = ended(sys.executable, "-m", "tools.generate", "--check", PYTHONHASHSEED=seed)
        assert (done.returncode, done.stdout) == (0, "check: generated/ matches openapi.yaml\n")


def test_edited_missing_and_stale_files_are_found(tmp_path: Path) -> None:
    """Each is listed by its name."""
    copied = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    (copied / "client.py").write_text("edited")
    (copied / "types.py").unlink()
    (copied / "models" / "stray.py").write_text("")
    assert changed_files(copied, PACKAGE) == [
        "client.py differs",
        "models/stray.py is stale",
        "types.py is missing",
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("literal_enums: true", "literal_enum: true", "unknown generator option literal_enum"),
        ("  request: EmbeddingRequest", "  request: embedding", r"names: request: 'embedding' is"),
        ("  request: EmbeddingRequest", "  request: [a]", "`names` must map strings"),
        ("names:\n", "names:\nnames:\n", r'line \d+: found duplicate key "names"'),
        ("names:\n", "names: [a]\nx:\n", "`names` must map strings"),
        ("  POST /embeddings: create_embeddings", "  - POST /embeddings", "`operations` must map"),
        (": create_embeddings", ": create embeddings", "is not an operation and a function name"),
        ("POST /embeddings:", "embeddings:", "is not an operation and a function name"),
        (": create_embeddings", ":", "`operations` must map"),
        ("literal_enums: true", "literal_enums: [", r"line \d+: "),
    ],
)
def test_an_invalid_configuration_is_rejected(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    """The error says what is wrong and what to do."""
    assert old in CONFIG.read_text()
    (tmp_path / CONFIG.name).write_text(CONFIG.read_text().replace(old, new))
    with pytest.raises(SpecError, match=words) as caught:
        read_config(tmp_path / CONFIG.name)
    assert str(caught.value).startswith("generator-config.yaml: ")
    assert "download the page" not in str(caught.value)


def test_a_missing_configuration_is_reported(tmp_path: Path) -> None:
    """The error has the system's message."""
    with pytest.raises(SpecError, match=r"generator-config\.yaml: No such file"):
        read_config(tmp_path / CONFIG.name)


def test_an_option_that_the_generator_rejects_is_reported(tmp_path: Path) -> None:
    """The error refers to the configuration, not to the document."""
    config = replace(read_config(CONFIG), options={"class_overrides": 5})
    with pytest.raises(SpecError, match=r"^openapi-python-client failed.*generator-config\.yaml"):
        generate(edition(SPEC.name), config, tmp_path / PACKAGE.name, lambda _: None)


def inexpressible(contract: dict[str, Any]) -> None:
    """Give the request a media type that the generator does not support."""
    body = contract["paths"]["/embeddings"]["post"]["requestBody"]
    body["content"] = {"application/strange": body["content"]["application/json"]}


def test_what_the_generator_cannot_express_is_located(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the place, the reason, the remedy and the log file."""
    monkeypatch.setattr(command, "LOG", SPEC.parent / "dist" / "test-generator.log")
    with pytest.raises(SpecError) as caught:
        made(tmp_path, changed(inexpressible))
    said = str(caught.value)
    log = command.LOG.read_text()
    command.LOG.unlink()
    assert said.startswith("#/paths/~1embeddings/post")
    assert "(line " in said
    words = "openapi-python-client cannot express this: Unsupported content type"
    assert words in said
    assert "dist/test-generator.log" in said
    assert "open an issue" in log
    assert "open an issue" not in said


def test_a_class_that_was_not_generated_is_located(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator may silently skip a schema."""
    every = {"EmbeddingRequest", "EmbeddingResponse"}
    monkeypatch.setattr(command, "generated_classes", lambda _: every)
    with pytest.raises(SpecError, match=r"cannot express this.*it has no class"):
        made(tmp_path)


def test_the_class_that_fails_to_generate_is_located(tmp_path: Path) -> None:
    """Two fields with the same Python name give an error that names their class."""

    def clash(contract: dict[str, Any]) -> None:
        usage = {"type": "object", "properties": {"a-b": {}, "a.b": {}}}
        content = contract["paths"]["/embeddings"]["post"]["requestBody"]["content"]
        content["application/json"]["schema"]["properties"]["provider"] = usage

    with pytest.raises(SpecError, match=r"\(request\.provider\).*generator_input\.py"):
        made(tmp_path, changed(clash))


def test_a_failure_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """generated/ is only replaced by a complete client."""
    package = tmp_path / PACKAGE.name
    package.mkdir()
    (package / "client.py").write_text("as it was")
    monkeypatch.setattr(command, "PACKAGE", package)
    monkeypatch.setattr(command, "parse_edition", lambda _: changed(inexpressible))
    assert command.main([]) == 1
    assert "generated/ is unchanged" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [PACKAGE.name]
    assert [path.read_text() for path in package.iterdir()] == ["as it was"]


def test_an_interrupt_changes_nothing(tmp_path: Path) -> None:
    """Ctrl-C during generation keeps the old client."""
    package = tmp_path / "p"
    package.mkdir()

    def interrupted() -> None:
        with atomic_replace(package) as fresh:
            fresh.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_failure_of_the_second_step_undoes_the_replacement(tmp_path: Path) -> None:
    """The specification and the client change together, or not at all."""
    package = tmp_path / "p"
    package.mkdir()
    (package / "old").touch()

    def fails() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"), atomic_replace(package, then=fails) as fresh:
        fresh.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    assert [path.name for path in package.iterdir()] == ["old"]


def test_an_interrupt_is_delayed_during_the_replacement(tmp_path: Path) -> None:
    """Ctrl-C takes effect when both are in place."""
    package, done = tmp_path / "p", []

    def interrupted() -> None:
        with atomic_replace(package, then=then) as fresh:
            fresh.mkdir()

    def then() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("then")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["then"]
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_the_old_client_is_restored_after_a_killed_run(tmp_path: Path) -> None:
    """A run that is killed between the two renames loses neither client."""
    package, old = tmp_path / "p", tmp_path / "p.old"
    old.mkdir()
    (old / "client.py").touch()

    def fails() -> None:
        with atomic_replace(package):
            raise SpecError("no")

    with pytest.raises(SpecError):
        fails()
    assert [path.name for path in package.iterdir()] == ["client.py"]


def test_a_missing_new_folder_keeps_the_old_one(tmp_path: Path) -> None:
    """Nothing is replaced if the new folder was never written."""
    package = tmp_path / "p"
    package.mkdir()
    with pytest.raises(FileNotFoundError), atomic_replace(package):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
