"""The package from outside: imports, public names, layers, types."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import errors
from openrouter_embeddings.local.contract import contract
from openrouter_embeddings.transport import BASE_URL

ROOT = Path(__file__).parents[1]
GENERATED = "openrouter_embeddings_api"
HEAVY = {"numpy", "httpx", GENERATED, "PIL", "attrs", "orjson", "stamina"}


def loaded_by(code: str) -> set[str]:
    """Which of the heavy packages are loaded after `code`, in a fresh interpreter."""
    ending = f"; import sys; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + ending], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_does_no_work() -> None:
    """No numpy, no generated models, no adapter, no Pillow, no httpx."""
    assert loaded_by("import openrouter_embeddings") == set()
    names = "InputError, Image, Audio, Video, File, Content"
    assert loaded_by(f"from openrouter_embeddings import {names}") == set()


def test_a_client_loads_what_it_needs_and_no_more() -> None:
    """Pillow only comes with an image that is shrunk."""
    assert "PIL" not in loaded_by("import openrouter_embeddings as o; o.Client('k')")
    assert "numpy" in loaded_by("import openrouter_embeddings as o; o.Client")


def test_every_public_name_is_there() -> None:
    """`__all__`, `dir()` and what can be had are the same."""
    assert dir(ore) == sorted(ore.__all__)
    for name in ore.__all__:
        assert getattr(ore, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        ore.Clint  # noqa: B018 - the look-up is what is tested


def test_every_error_is_public_and_in_the_tree() -> None:
    """Nothing of the tree is left out of `__all__`, and everything in it has one root."""
    tree = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert set(tree) <= set(ore.__all__)
    assert all(issubclass(error, ore.EmbeddingsError) for error in tree.values())
    guide = (ROOT / "docs" / "guide.md").read_text()
    for drawn in (errors.__doc__ or "", guide.partition("```\nEmbeddingsError\n")[2]):
        assert all(re.search(rf"─ {name} ", drawn) for name in tree if name != "EmbeddingsError")
    assert issubclass(ore.InputError, ValueError)


def test_errors_survive_pickling() -> None:
    """They cross process boundaries with all they know."""
    import pickle

    error = ore.RateLimitError("slow", status=429, retry_after=2.0, inputs=[3, 4, 5, 9])
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "slow [status 429, retry after 2 s, inputs 3-5, 9]"
    assert vars(again) == vars(error)


def test_the_default_address_is_the_contracts() -> None:
    """The published server."""
    assert [server["url"] for server in contract()["servers"]] == [BASE_URL]


def test_markers_for_type_checkers_ship() -> None:
    """Both packages say that they are typed."""
    for name in ("openrouter_embeddings", "openrouter_embeddings_api"):
        package = importlib.import_module(name)
        assert (Path(package.__file__ or "").parent / "py.typed").exists()


def test_the_wrapper_names_two_classes_of_the_generated_package() -> None:
    """Any other could be missing, or called otherwise, in another edition of the specification."""
    named = set()
    for path in (ROOT / "wrapper").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(GENERATED):
                named |= {alias.name for alias in node.names}
    assert named == {"ProviderPreferences", "Unset", "models"}


def test_no_module_is_too_long() -> None:
    """A module that does not fit into a head is two."""
    for root in ("wrapper", "tools", "tests", "examples"):
        for path in (ROOT / root).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 500, path
