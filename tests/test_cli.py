"""`orembed` as a person meets it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import cli
from stamina import instrumentation

from tests.support import KEY, orembed


def test_vectors_are_printed_as_json_lines() -> None:
    """One line a text, in order; what it took goes to stderr."""
    done = orembed("embed", "--local", "a cat", "a dog")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["index"] for line in lines] == [0, 1]
    wanted = ore.Client.local().embed(["a cat", "a dog"]).vectors
    assert np.array_equal(np.array([x["embedding"] for x in lines], np.float32), wanted)
    assert done.stderr == "8 tokens, cost 0.00000016 credits\n"
    assert done.returncode == 0


def test_vectors_are_saved_as_a_matrix(tmp_path: Path) -> None:
    """Lines from standard input, another model and width."""
    target = tmp_path / "titles.npy"
    options = ["--model", "local/hash", "--dimensions", "8", "--output", str(target)]
    done = orembed("embed", "--local", *options, "first", "-", stdin="a\nb\r\nc")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert f"{target}: 4 vectors of 8 dimensions\n" in done.stderr
    client = ore.Client.local(model="local/hash", dimensions=8)
    assert np.array_equal(np.load(target), client.embed(["first", "a", "b", "c"]).vectors)


def test_a_failed_call_leaves_the_old_file(tmp_path: Path) -> None:
    """And nothing half-written beside it."""
    target = tmp_path / "old.npy"
    target.write_bytes(b"old")
    done = orembed("embed", "--local", "--model", "nope", "--output", str(target), "a")
    assert done.returncode == 1
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["embed", "a"], 2, "orembed: no API key: set OPENROUTER_API_KEY, or say --local"),
        (["embed", "--local", "--output", "x.txt", "a"], 2, "'x.txt' does not end in .npy"),
        (["serve", "--port", "99999"], 2, "'99999' is no port"),
        (["embed", "--local", "-"], 2, "orembed: standard input is empty"),
        (["embed", "--local", ""], 2, "orembed: input 0: the text is empty"),
        (["embed", "--local", "--dimensions", "0", "a"], 2, "orembed: dimensions is 0"),
        (["embed", "--local", "--model", "nope", "a"], 1, "orembed: Not Found: No endpoints"),
        (["embed", "--local", "--output", "/no/where.npy", "a"], 1, "No such file or directory"),
        (["embed"], 2, "the following arguments are required: TEXT"),
        (["embed", "--dimensions", "x", "a"], 2, "invalid int value"),
        ([], 2, "the following arguments are required: COMMAND"),
        (["serve", "--host", "999.0.0.1"], 1, "orembed: "),
    ],
)
def test_errors_are_a_sentence_and_a_status(arguments: list[str], status: int, words: str) -> None:
    """On stderr, and never a traceback."""
    done = orembed(*arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("stdin", "words"),
    [(b"a\n\nb\n", "line 2 of standard input is empty"), (b"a\n\xff", "line 2 of")],
)
def test_a_bad_line_of_standard_input_is_named_by_its_number(stdin: bytes, words: str) -> None:
    """Empty, or not UTF-8."""
    done = subprocess.run(
        [sys.executable, "-m", "openrouter_embeddings.cli", "embed", "--local", "-"],
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"orembed: {words}" in done.stderr.decode()


def test_each_wait_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person sees why nothing happens, of a job now and then; the model is asked for by name."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["embed", "--local", "--model", "local/status-503", "a"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert all("Service Unavailable" in line for line in lines)
    assert all(line.endswith("trying again in 0.0 s") for line in lines[:4])
    Path("texts.txt").write_text("a\nb\n")
    job = ["run", "texts.txt", "-o", "t.npy", "--local", "--model", "local/status-503"]
    assert cli.main([*job, "--batch-size", "1"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "trying again" in line]
    assert "input" not in line  # whose position would be one in some request
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    assert cli.main(["embed", "a"]) == 2
    assert "no model: say --model" in capsys.readouterr().err
    instrumentation.set_on_retry_hooks(None)


def test_a_service_that_is_not_there_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the reason, and without the key."""
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    monkeypatch.setenv("OPENROUTER_BASE_URL", "http://127.0.0.1:9/v1")
    assert cli.main(["embed", "--model", "m", "a"]) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("orembed: no connection to http://127.0.0.1:9 (Conn")
    instrumentation.set_on_retry_hooks(None)
    assert KEY not in said


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    """`orembed embed … | head -1` ends quietly."""
    command = f"{sys.executable} -m openrouter_embeddings.cli embed --local --model local/hash - "
    done = subprocess.run(
        ["bash", "-c", f"yes text | head -2000 | {command} | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout)["index"] == 0
    assert done.stderr == ""


def test_help_loads_nothing_heavy() -> None:
    """It answers at once."""
    code = (
        "import sys; from openrouter_embeddings import cli; cli.parser();"
        "print(sorted({'numpy', 'httpx', 'openrouter_embeddings_api'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_interrupt_is_said_shortly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C: one word and the usual status."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_serve", interrupted)
    assert cli.main(["serve"]) == 130
    assert capsys.readouterr().err == "orembed: interrupted\n"


def test_the_version_is_the_packages() -> None:
    """One number in one place."""
    assert orembed("--version").stdout == f"orembed {ore.__version__}\n"


def test_standard_input_is_read_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A second - could only find it empty."""
    assert cli.main(["embed", "--local", "-", "a", "-"]) == cli.EXIT_USAGE
    assert "so - stands once" in capsys.readouterr().err


def test_a_directory_is_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before anything is paid for."""
    (tmp_path / "d.npy").mkdir()
    with pytest.raises(SystemExit):
        cli.main(["embed", "--local", "--output", str(tmp_path / "d.npy"), "a"])
    assert "is a directory" in capsys.readouterr().err


def test_a_script_of_faults_is_read_before_anything_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with it is said in a line."""
    script = tmp_path / "faults.toml"
    for text, words in [
        ('[[fault]]\nkind = "meteor"', "no fault is called 'meteor'; known are status,"),
        ('[[fault]]\nkind = "drip"\nspeed = 3', "fault 0: speed is not known"),
        ("sead = 3", "sead is not known"),
        ("[[fault]", "Expected"),
        ('[fault]\nkind = "drip"', "under [[fault]], in two pairs of brackets"),
        ("[[fault]]\nstatus = 500", "fault 0: it has no kind"),
        ('seed = "x"', "seed = 'x' is no integer"),
    ]:
        script.write_text(text)
        with pytest.raises(SystemExit):
            cli.main(["serve", "--faults", str(script)])
        assert words in capsys.readouterr().err
