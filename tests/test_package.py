"""The package from outside: imports, public names, types, size of modules."""

import ast
import importlib
import pickle
import re
import sys
from pathlib import Path

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import errors
from openrouter_embeddings.local.contract import shipped
from openrouter_embeddings.transport import BASE_URL

from tests.support import ROOT, run

GENERATED = "openrouter_embeddings_api"
HEAVY = {"numpy", "httpx", GENERATED, "PIL", "attrs", "msgspec", "stamina"}


def loaded_by(code: str) -> set[str]:
    """The heavy packages that `code` loads in a fresh interpreter."""
    ending = f"; import sys; print(*({HEAVY!r} & set(sys.modules)))"
    return set(run(sys.executable, "-c", code + ending).split())


def test_importing_does_no_work() -> None:
    """Importing the package loads none of the heavy packages."""
    assert loaded_by("import openrouter_embeddings") == set()
    names = "InputError, Image, Audio, Video, File, Content"
    assert loaded_by(f"from openrouter_embeddings import {names}") == set()


def test_a_client_loads_what_it_needs_and_no_more() -> None:
    """A client loads no Pillow; only an image that is resized does."""
    assert "PIL" not in loaded_by("import openrouter_embeddings as o; o.Client('k')")
    assert "numpy" in loaded_by("import openrouter_embeddings as o; o.Client")


def test_every_public_name_is_there() -> None:
    """`__all__` and `dir()` agree, and every name in them exists."""
    assert dir(ore) == sorted(ore.__all__)
    for name in ore.__all__:
        assert getattr(ore, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        ore.Clint  # noqa: B018 - the look-up is what is tested


def test_every_error_is_public_and_in_the_tree() -> None:
    """`__all__` has every error class, and all of them share one base class."""
    tree = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert set(tree) <= set(ore.__all__)
    assert all(issubclass(error, ore.EmbeddingsError) for error in tree.values())
    assert {error.__module__ for error in tree.values()} == {"openrouter_embeddings.errors"}
    guide = (ROOT / "docs" / "guide.md").read_text()
    for drawn in (errors.__doc__ or "", guide.partition("```\nEmbeddingsError\n")[2]):
        assert all(re.search(rf"─ {name} ", drawn) for name in tree if name != "EmbeddingsError")
    assert issubclass(ore.InputError, ValueError)


def test_errors_survive_pickling() -> None:
    """An error keeps its message and attributes when it crosses a process boundary."""
    error = ore.RateLimitError("slow", status=429, retry_after=2.0, inputs=[3, 4, 5, 9])
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "slow [status 429, retry after 2 s, inputs 3-5, 9]"
    assert vars(again) == vars(error)


def test_the_default_base_url_is_the_contracts() -> None:
    """The client's default is the server that the contract names."""
    assert [server["url"] for server in shipped().document["servers"]] == [BASE_URL]


def test_both_packages_ship_py_typed() -> None:
    """Type checkers find the marker in the wrapper and in the generated package."""
    for name in ("openrouter_embeddings", "openrouter_embeddings_api"):
        package = importlib.import_module(name)
        assert (Path(package.__file__ or "").parent / "py.typed").exists()


def test_the_wrapper_names_two_classes_of_the_generated_package() -> None:
    """Other classes may be missing or renamed in another edition of the specification."""
    named = set()
    for path in (ROOT / "wrapper").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(GENERATED):
                named |= {alias.name for alias in node.names}
    assert named == {"ProviderPreferences", "Unset", "models"}


def test_nothing_that_gevent_replaces_is_bound_when_a_module_is_imported() -> None:
    """A queue or lock of before the replacement would block all greenlets at once."""
    for path in (ROOT / "wrapper").rglob("*.py"):
        text = path.read_text()
        bound = r"^from (?:queue|select|signal|socket|ssl|subprocess|threading|time) import"
        assert not re.search(rf"{bound}|threading\.local\(", text, re.MULTILINE), path


def test_no_module_is_too_long() -> None:
    """A hand-written Python module has at most 500 lines."""
    for root in ("wrapper", "tools", "stress", "benchmarks", "tests", "examples"):
        for path in (ROOT / root).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 500, path


def test_every_path_in_the_architecture_exists() -> None:
    """ARCHITECTURE.md names files and folders of the repository or of the wrapper, no others."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    wrapper = ROOT / "wrapper" / "openrouter_embeddings"
    paths = re.findall(r"[\w/.-]*\w\.(?:py|toml|yaml)\b|[\w/.-]+/(?=[`\s])", text)
    assert len(paths) > 50
    for path in paths:
        assert (ROOT / path).exists() or (wrapper / path).exists(), path
