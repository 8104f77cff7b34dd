"""`orembed` as a person meets it."""

import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings import cli, jobs
from openrouter_embeddings.cli import _client, _run
from openrouter_embeddings.cli._client import fields, options_of
from openrouter_embeddings.core.options import EmbedOptions, Options
from stamina import instrumentation

from tests.support import KEY, Service, answer, orembed

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


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
        (["embed", "a"], 2, "orembed: no API key: set OPENROUTER_API_KEY, or use --local"),
        (["embed", "--local", "--output", "x.txt", "a"], 2, "'x.txt' does not end in .npy"),
        (["serve", "--port", "99999"], 2, "'99999' is no port"),
        (["embed", "--local", "-"], 2, "orembed: standard input is empty"),
        (["embed", "--local", ""], 2, "orembed: input 0: the text is empty"),
        (["embed", "--local", "--dimensions", "0", "a"], 2, "orembed: dimensions is 0"),
        (["embed", "--local", "--model", "nope", "a"], 1, "orembed: Not Found: No endpoints"),
        (["embed", "--local", "--output", "/no/where.npy", "a"], 1, "No such file or directory"),
        (["embed"], 2, "the following arguments are required: TEXT"),
        (["embed", "--dimensions", "x", "a"], 2, "invalid int value"),
        (["embed", "--provider", "zdr", "a"], 2, "'zdr' is neither KEY=VALUE nor a JSON object"),
        (["embed", "--provider", "a..b=1", "a"], 2, "'a..b=1' is neither KEY=VALUE"),
        (["embed", "--provider", "{zdr", "a"], 2, "'{zdr' is no JSON object"),
        (["embed", "--local", "--provider", "zdrr=true", "a"], 2, "provider: zdrr is not known"),
        (["embed", "--local", "--provider", "only=azure", "a"], 2, "provider: only"),
        (["embed", "--local", "--timeout", "0", "a"], 2, "orembed: timeout is 0.0"),
        (["embed", "--local", "--budget", "much", "a"], 2, "'much' is no amount of credits"),
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
    assert all(re.search(r"trying again in \d+\.\d s$", line) for line in lines[:4])
    Path("texts.txt").write_text("a\nb\n")
    job = ["run", "texts.txt", "-o", "t.npy", "--local", "--model", "local/status-503"]
    assert cli.main([*job, "--batch-size", "1"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "trying again" in line]
    assert "input" not in line  # whose position would be one in some request
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    assert cli.main(["embed", "a"]) == 2
    assert "no model: add --model" in capsys.readouterr().err
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
        ('[[fault]]\nkind = "meteor"', "unknown fault kind 'meteor'; use one of status,"),
        ('[[fault]]\nkind = "drip"\nspeed = 3', "fault 0: unknown key speed"),
        ("sead = 3", "unknown key sead"),
        ("[[fault]", "Expected"),
        ('[fault]\nkind = "drip"', "as a [[fault]] table, in double brackets"),
        ("[[fault]]\nstatus = 500", "fault 0: kind is missing"),
        ('seed = "x"', "seed must be an integer, got 'x'"),
    ]:
        script.write_text(text)
        with pytest.raises(SystemExit):
            cli.main(["serve", "--faults", str(script)])
        assert words in capsys.readouterr().err


PROVIDER = [
    (["zdr=true"], {"zdr": True}),
    (["sort=price", "sort=latency"], {"sort": "latency"}),
    (["note=a=b", 'only=["azure"]'], {"note": "a=b", "only": ["azure"]}),
    (["max_price.prompt=0.1", "max_price.image=2"], {"max_price": {"prompt": 0.1, "image": 2}}),
    (['{"zdr": true, "a": {"b": 1}}', "a.c=text"], {"zdr": True, "a": {"b": 1, "c": "text"}}),
    (["a.b=1", "a="], {"a": ""}),
]


@pytest.mark.parametrize(("arguments", "wanted"), PROVIDER)
@pytest.mark.parametrize("option", ["--provider", "--extra-body"])
def test_an_object_is_written_as_json_or_in_pairs(
    option: str, arguments: list[str], wanted: dict[str, Any]
) -> None:
    """Dots lead into an object; what comes later adds to it, and wins where both say something."""
    words = [word for argument in arguments for word in (option, argument)]
    given = cli.parser().parse_args(["embed", "a", *words])
    assert options_of(given) == {option.strip("-").replace("-", "_"): wanted}


@given(st.dictionaries(st.text(string.ascii_letters + "_", min_size=1), JSON, min_size=1))
def test_every_json_object_can_be_written_in_both_forms(wanted: dict[str, Any]) -> None:
    """Whole, or as a pair for each field."""
    assert fields(json.dumps(wanted)) == wanted
    parsed = [fields(f"{name}={json.dumps(value)}") for name, value in wanted.items()]
    assert {name: one[name] for one in parsed for name in one} == wanted


def test_every_option_of_a_call_is_on_the_command_line() -> None:
    """With the defaults that the code has, but for what makes no sense there."""
    settings = {"local", "output", "texts", "run", "command", "parser"}
    embed = {*vars(cli.parser().parse_args(["embed", "a"]))} - settings
    assert embed == {*EmbedOptions.__annotations__} - {"on_error"}
    run = {*vars(cli.parser().parse_args(["run", "s.txt", "-o", "t.npy"]))}
    assert {*EmbedOptions.__annotations__} - run == {"on_error", "deadline"}
    defaults = Options()
    for name in ("batch_size", "concurrency", "timeout", "max_retries", "encoding_format"):
        value = getattr(defaults, name)
        said = value if isinstance(value, str) else f"{value:g}"
        assert f"default: {said}" in _client._OPTIONS[name]["help"]


EVERY = [
    "--model=m", "--dimensions=4", "--input-type=search_document", "--provider=zdr=true",
    "--user=u", "--extra-body=more=1", "--encoding-format=float", "--batch-size=2",
    "--concurrency=1", "--timeout=7", "--max-retries=0",
]  # fmt: skip


@pytest.mark.parametrize("command", ["embed", "run"])
def test_the_options_of_a_command_are_those_of_its_requests(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the service is asked has each of them, and the client what is not sent."""
    (tmp_path / "s.txt").write_text("a\nb\nc\n")
    service = Service(lambda body, _: {**answer(body["input"]), "usage": {"cost": 1}})
    made: list[Any] = []

    def client(**options: Any) -> Any:
        made.append(options)
        http = httpx.Client(transport=httpx.MockTransport(service.handle))
        return ore.Client(KEY, http_client=http, **options)

    monkeypatch.setattr("openrouter_embeddings.client.Client.local", client)
    what = ["a", "b", "c"] if command == "embed" else [tmp_path / "s.txt", "-o", tmp_path / "t.npy"]
    status = cli.main([command, *map(str, what), "--local", *EVERY, "--budget=0.5"])
    assert status == cli.EXIT_SPENT
    assert (made[0]["timeout"], made[0]["max_retries"], made[0]["concurrency"]) == (7.0, 0, 1)
    assert service.bodies == [
        {
            "input": ["a"],
            "model": "m",
            "dimensions": 4,
            "input_type": "search_document",
            "provider": {"zdr": True},
            "user": "u",
            "more": 1,
            "encoding_format": "float",
        }
    ]


def test_a_job_is_told_apart_by_what_changes_its_vectors(tmp_path: Path) -> None:
    """A finished target is not taken for one of another role or another provider."""
    (tmp_path / "s.txt").write_text("a\n")
    job = ["run", "s.txt", "-o", "t.npy", "--local", "--model", "local/hash", "--dimensions", "4"]
    for options, words in [
        (["--input-type", "search_document", "--provider", "zdr=true"], "1 rows"),
        (["--provider", '{"zdr": true}', "--input-type", "search_document"], "nothing was asked"),
        (["--input-type", "search_query", "--provider", "zdr=true"], "input_type: 'search_docum"),
        (["--input-type", "search_document"], "provider: {'zdr': True}, now None"),
        (["--input-type", "search_document", "--provider", "zdrr=true"], "zdrr is not known"),
    ]:
        assert words in orembed(*job, *options, cwd=tmp_path).stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_text_is_printed_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    """JSON is always UTF-8; text has escapes for what the encoding has no characters for."""
    text, row = "naïve 中文 😀 \x81", {"text": "naïve 中文 😀 \x81", "ä": "中"}
    (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
    options = ["--local", "--model", "local/hash", "--dimensions", "4", "--column", "text"]
    assert orembed("run", "s.jsonl", "-o", "t.jsonl", *options, cwd=tmp_path).returncode == 0
    titled = ["--template", "ä {text}", *options[:-2]]
    assert orembed("run", "s.jsonl", "-o", "中.npy", *titled, cwd=tmp_path).returncode == 0

    def printed(*words: str) -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "openrouter_embeddings.cli", *words],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            cwd=tmp_path,
            capture_output=True,
            check=True,
        )
        return done.stdout

    found = printed("search", "t.jsonl", "a", "--local")
    assert json.loads(found.decode())["columns"] == row
    assert (text.encode() in found) == (encoding == "utf-8")
    assert json.loads(printed("info", "中.npy", "--json").decode())["template"] == "ä {text}"
    wanted = {"ascii": "\\u00e4 {text}"}.get(encoding, "ä {text}")
    assert f"template          {wanted}" in printed("info", "中.npy").decode(encoding)
    wanted = {"ascii": "\\u2026"}.get(encoding, "…")
    assert f'"embedding":[{wanted}]' in printed("embed", "--help").decode(encoding)


def test_a_failure_is_a_record_too(tmp_path: Path) -> None:
    """With --json the last line says what ended the job, and how it goes on."""
    (tmp_path / "s.txt").write_text("".join(f"text {n}\n" for n in range(40)))
    job = ["run", "s.txt", "-o", "t.npy", "--local", "--json", "--model"]
    hash_model = ["local/hash", "--dimensions", "4", "--batch-size", "2", "--concurrency", "1"]
    for options, wanted in [
        (["local/status-401"], ("AuthenticationError", 1, "nothing had come; when that is")),
        (["local/status-402"], ("PaymentRequiredError", 3, "nothing had come; when there are")),
        ([*hash_model, "--budget", "0.0000005"], ("BudgetExceededError", 3, "what came is kept;")),
        ([*hash_model, "--column", "x"], ("InputError", 2, None)),
        ([*hash_model, "--input-type", "x"], ("JobError", 1, None)),
    ]:
        done = orembed(*job, *options, cwd=tmp_path)
        found = json.loads(done.stdout.splitlines()[-1])["error"]
        assert (found["type"], found["exit_status"]) == wanted[:2]
        assert found["exit_status"] == done.returncode
        assert found["message"] in done.stderr
        hint = wanted[2]
        assert found["hint"] is None if hint is None else found["hint"].startswith(hint)
        assert hint is None or found["hint"] in done.stderr


def test_an_interrupted_job_is_a_record_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C has a status and a hint like any other end."""
    (tmp_path / "s.txt").write_text("a\n")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "embed_file", interrupted)
    job = ["run", str(tmp_path / "s.txt"), "-o", str(tmp_path / "t.npy"), "--local", "--json"]
    assert cli.main(job) == 130
    assert json.loads(capsys.readouterr().out)["error"] == {
        "type": "KeyboardInterrupt",
        "message": "interrupted",
        "exit_status": 130,
        "hint": "nothing had come; the same command goes on",
    }


def test_costs_in_json_have_no_exponent(tmp_path: Path) -> None:
    """They are decimals as text, exact and as people write them."""
    (tmp_path / "s.txt").write_text("abcd\n")
    job = ["run", "s.txt", "-o", "t.npy", "--local", "--model", "local/hash", "--dimensions", "4"]
    done = orembed(*job, "--json", cwd=tmp_path)
    usage = json.loads(done.stdout.splitlines()[-1])["report"]["usage"]
    assert usage["cost"] == "0.00000008"
    assert "E-" not in done.stdout
    done = orembed(*job, "--json", "--dry-run", "--price", "0.02", cwd=tmp_path)
    assert json.loads(done.stdout)["estimate"]["cost"] == "0.00000002"


@pytest.mark.parametrize("command", ["run", "search"])
def test_all_missing_extras_are_named_at_once(
    tmp_path: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody installs one to be asked for the next."""
    (tmp_path / "s.txt").write_text("a\n")
    target = str(tmp_path / "t.parquet")
    for module in ("pyarrow", "jsonschema_rs"):
        monkeypatch.setitem(sys.modules, module, None)
    arguments = [str(tmp_path / "s.txt"), "-o", target] if command == "run" else [target, "a"]
    assert cli.main([command, *arguments, "--local"]) == 1
    assert 'pip install "openrouter-embeddings[jobs,local]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "s3://bucket/x.txt", "-o", "t.npy", "--local"],
        ["run", "s.txt", "-o", "s3://bucket/t.npy", "--local"],
        ["run", "s.txt", "-o", "t.npy", "--cache", "s3://bucket/cache", "--local"],
        ["info", "s3://bucket/t.npy"],
        ["search", "s3://bucket/t.npy", "a", "--local"],
        ["map", "s3://bucket/t.npy", "-o", "m.html"],
        ["map", "t.npy", "-o", "s3://bucket/m.html"],
    ],
)
def test_an_address_is_not_taken_for_a_path(
    tmp_path: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says that addresses are not supported, and makes no folder of that name."""
    monkeypatch.chdir(tmp_path)
    Path("s.txt").write_text("a\nb\nc\n")
    options = ["--local", "--model", "local/hash", "--dimensions", "4"]
    assert cli.main(["run", "s.txt", "-o", "done.npy", *options]) == 0
    assert (
        cli.main(
            [
                word.replace("t.npy", "done.npy", 1)
                if word == "t.npy" and arguments[0] == "map"
                else word
                for word in arguments
            ]
        )
        == 2
    )
    assert "addresses such as s3://… are not supported" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} <= {
        "s.txt",
        "done.npy",
        "done.npy.provenance.json",
    }


def test_a_missing_column_is_asked_for_by_its_option(tmp_path: Path) -> None:
    """In the words of the command line and of Python."""
    (tmp_path / "s.jsonl").write_text('{"a": "x", "b": "y"}\n')
    done = orembed("run", "s.jsonl", "-o", "t.npy", "--local", cwd=tmp_path)
    assert done.returncode == 2
    assert "Name it with column (--column); there are a, b" in done.stderr


def test_seconds_are_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a unit."""
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["embed", "a", "--timeout", "5s"])
    assert "argument --timeout: '5s' is no number of seconds" in capsys.readouterr().err


def test_a_job_that_stops_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And how to stop without waiting, whatever ended it: a budget, a failure or Ctrl-C."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    given = cli.parser().parse_args(["run", "s.txt", "-o", "t.npy"])
    listener, close = _run._listener(given)
    for in_flight in (1, 0):  # none under way: nothing to say
        listener(jobs.Progress("stopping", 1, 2, 0, 1, 0, 0, in_flight, 4, ore.Usage(), 10.0))
    close()
    assert capsys.readouterr().err == (
        "orembed: finishing the requests already sent; Ctrl-C again drops them\n"
    )
