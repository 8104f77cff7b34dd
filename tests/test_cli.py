"""`orembed`: what it prints, its exit statuses, and its options."""

import json
import re
import socket
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
from openrouter_embeddings.cli import _client, _progress, _serve
from openrouter_embeddings.cli._client import json_fields, request_options
from openrouter_embeddings.core.options import EmbedOptions, Options

from tests.support import HASH, KEY, Service, answer, ended, orembed, run

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def test_vectors_are_printed_as_json_lines() -> None:
    """`embed` prints one line per text, in order; tokens and cost go to standard error."""
    done = orembed("embed", "--local", "a cat", "a dog")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["index"] for line in lines] == [0, 1]
    wanted = ore.Client.local().embed(["a cat", "a dog"]).vectors
    assert np.array_equal(np.array([x["embedding"] for x in lines], np.float32), wanted)
    assert done.stderr == "8 tokens, cost 0.00000016 credits\n"
    assert done.returncode == 0


def test_vectors_are_saved_as_a_matrix(tmp_path: Path) -> None:
    """`embed --output` saves a .npy file; `-` reads texts from standard input."""
    target = tmp_path / "titles.npy"
    options = ["--model", "local/hash", "--dimensions", "8", "--output", str(target)]
    done = orembed("embed", "--local", *options, "first", "-", stdin="a\nb\r\nc")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert f"{target}: 4 vectors of 8 dimensions\n" in done.stderr
    client = ore.Client.local(model="local/hash", dimensions=8)
    assert np.array_equal(np.load(target), client.embed(["first", "a", "b", "c"]).vectors)


def test_a_failed_command_leaves_the_old_file_unchanged(tmp_path: Path) -> None:
    """A failed `embed --output` changes no file and leaves no partial one."""
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
        (["serve", "--port", "99999"], 2, "'99999' is not a port"),
        (["embed", "--local", "-"], 2, "orembed: standard input is empty"),
        (["embed", "--local", ""], 2, "orembed: input 0: the text is empty"),
        (["embed", "--local", "--dimensions", "0", "a"], 2, "orembed: dimensions: expected an"),
        (["embed", "--local", "--model", "nope", "a"], 1, "orembed: Not Found: No endpoints"),
        (["embed", "--local", "--output", "/no/where.npy", "a"], 1, "No such file or directory"),
        (["embed"], 2, "the following arguments are required: TEXT"),
        (["embed", "--dimensions", "x", "a"], 2, "--dimensions: 'x' is not a whole number"),
        (["run", "s", "-o", "t", "--max-errors", "x"], 2, "'x' is not a whole number"),
        (["search", "t.npy", "a", "-k", "1.5"], 2, "-k: '1.5' is not a whole number"),
        (["map", "t.npy", "-o", "m", "--points", "x"], 2, "'x' is not a whole number"),
        (["embed", "--loca", "a"], 2, "arguments: --loca; did you mean --local?"),
        (["embed", "--local", "--dimension=3", "a"], 2, "did you mean --dimensions?"),
        (["search", "t.npy", "a", "--loca"], 2, "did you mean --local?"),
        (["info", "t.npy", "--jso"], 2, "did you mean --json?"),
        (["map", "t.npy", "-o", "m", "--colo=c"], 2, "did you mean --color?"),
        (["serve", "--por=99999"], 2, "did you mean --port?"),
        (["embed", "--provider", "zdr", "a"], 2, "'zdr' is neither KEY=VALUE nor a JSON object"),
        (["embed", "--provider", "a..b=1", "a"], 2, "'a..b=1' is neither KEY=VALUE"),
        (["embed", "--provider", "{zdr", "a"], 2, "'{zdr' is not a JSON object"),
        (["embed", "--local", "--provider", "zdrr=true", "a"], 2, "provider: unknown key zdrr"),
        (["embed", "--local", "--provider", "only=azure", "a"], 2, "provider: only"),
        (["embed", "--local", "--timeout", "0", "a"], 2, "orembed: timeout: expected a"),
        (["embed", "--local", "--budget", "much", "a"], 2, "'much' is not an amount of credits"),
        (["embed", "--local", "-", "a", "-"], 2, "- is given more than once"),
        (["embed", "a", "--timeout", "5s"], 2, "argument --timeout: '5s' is not a number of sec"),
        ([], 2, "the following arguments are required: COMMAND"),
        (["serve", "--host", "999.0.0.1"], 1, "orembed: "),
    ],
)
def test_an_error_has_a_message_and_a_status(arguments: list[str], status: int, words: str) -> None:
    """An error is a line on standard error, without a traceback, and an exit status."""
    done = orembed(*arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("stdin", "words"),
    [(b"a\n\nb\n", "line 2 of standard input is empty"), (b"a\n\xff", "line 2 of")],
)
def test_an_invalid_line_of_standard_input_is_named_by_its_number(stdin: bytes, words: str) -> None:
    """A line that is empty or not UTF-8 ends the process with status 2 and names the line."""
    done = subprocess.run(
        [sys.executable, "-m", "openrouter_embeddings.cli", "embed", "--local", "-"],
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"orembed: {words}" in done.stderr.decode()


def test_each_retry_is_reported(tmp_path: Path) -> None:
    """`embed` reports every retry; `run` reports few of them, and no positions of inputs."""
    done = orembed("embed", "--local", "--model", "local/status-503", "a")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert all("Service Unavailable" in line for line in lines)
    assert all(re.search(r"trying again in \d+\.\d s$", line) for line in lines[:4])
    (tmp_path / "texts.txt").write_text("a\nb\n")
    job = ["run", "texts.txt", "-o", "t.npy", "--local", "--model", "local/status-503"]
    done = orembed(*job, "--batch-size", "1", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "trying again" in line]
    assert "input" not in line


def test_a_missing_model_is_an_error() -> None:
    """Without --local, the error asks for --model."""
    done = orembed("embed", "a", OPENROUTER_API_KEY=KEY)
    assert done.returncode == 2
    assert "no model: add --model" in done.stderr


def test_an_unreachable_service_is_reported_without_the_key() -> None:
    """The error names the address and the reason."""
    place: Any = {"OPENROUTER_API_KEY": KEY, "OPENROUTER_BASE_URL": "http://127.0.0.1:9/v1"}
    done = orembed("embed", "--model", "m", "a", **place)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("orembed: cannot connect to http://127.0.0.1:9 (Conn")
    assert KEY not in done.stderr


def test_a_closed_pipe_is_not_reported() -> None:
    """`orembed embed … | head -1` ends quietly."""
    command = f"{sys.executable} -m openrouter_embeddings.cli embed --local --model local/hash - "
    done = ended("bash", "-c", f"yes text | head -2000 | {command} | head -1")
    assert json.loads(done.stdout)["index"] == 0
    assert done.stderr == ""


@pytest.mark.parametrize(
    "name", ["encoding_format", "batch_size", "concurrency", "timeout", "max_retries"]
)
def test_the_help_states_the_defaults_of_options(name: str) -> None:
    """The help cannot take them from `Options`, because that imports the generated client."""
    default = str(getattr(Options(), name)).removesuffix(".0")
    assert _client._OPTIONS[name]["help"].endswith(f"; default: {default}")


def test_help_imports_nothing_heavy() -> None:
    """The parser imports neither numpy nor httpx nor the generated client."""
    code = (
        "import sys; from openrouter_embeddings import cli; cli.parser();"
        "print(sorted({'numpy', 'httpx', 'openrouter_embeddings_api'} & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code) == "[]\n"


def test_an_interrupt_is_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C prints "interrupted" and exits with 130."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_serve, "_serve", interrupted)
    done = orembed("serve")
    assert (done.returncode, done.stderr) == (130, "orembed: interrupted\n")


def test_version_is_the_version_of_the_package() -> None:
    """`--version` prints `__version__`."""
    assert orembed("--version").stdout == f"orembed {ore.__version__}\n"


def test_a_directory_cannot_be_the_output(tmp_path: Path) -> None:
    """The error comes before any request."""
    (tmp_path / "d.npy").mkdir()
    done = orembed("embed", "--local", "--output", tmp_path / "d.npy", "a")
    assert done.returncode == 2
    assert "is a directory" in done.stderr


def test_a_used_port_is_an_error_that_says_how_to_get_a_free_one() -> None:
    """Another server may have the default port of `serve`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = orembed("serve", "--port", str(listener.getsockname()[1]))
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "; --port 0 takes a free one" in done.stderr


def test_an_invalid_script_of_faults_is_a_usage_error(tmp_path: Path) -> None:
    """`serve --faults` names the mistake before it serves anything."""
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
        done = orembed("serve", "--faults", script)
        assert done.returncode == 2
        assert words in done.stderr


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
def test_a_repeated_object_option_is_merged(
    option: str, arguments: list[str], wanted: dict[str, Any]
) -> None:
    """JSON objects and KEY=VALUE pairs add up; dots lead into objects; the last value wins."""
    words = [word for argument in arguments for word in (option, argument)]
    args = cli.parser().parse_args(["embed", "a", *words])
    assert request_options(args) == {option.strip("-").replace("-", "_"): wanted}


@given(st.dictionaries(st.text(string.ascii_letters + "_", min_size=1), JSON, min_size=1))
def test_every_json_object_can_be_given_whole_or_in_pairs(wanted: dict[str, Any]) -> None:
    """One JSON object, and KEY=VALUE for each of its fields, parse to the same value."""
    assert json_fields(json.dumps(wanted)) == wanted
    parsed = [json_fields(f"{name}={json.dumps(value)}") for name, value in wanted.items()]
    assert {name: one[name] for one in parsed for name in one} == wanted


def test_every_option_of_a_call_is_on_the_command_line() -> None:
    """`embed` and `run` have all options that make sense there; --help states their defaults.

    There is no `--header`, because every user of a machine can read the values in a command line.
    """
    others = {"local", "output", "texts", "run", "command", "parser"}
    embed = {*vars(cli.parser().parse_args(["embed", "a"]))} - others
    assert embed == {*EmbedOptions.__annotations__} - {
        "on_error", "headers", "trace_propagation",
    }  # fmt: skip
    run = {*vars(cli.parser().parse_args(["run", "s.txt", "-o", "t.npy"]))}
    assert {*EmbedOptions.__annotations__} - run == {
        "on_error", "headers", "trace_propagation", "deadline",
    }  # fmt: skip
    defaults = Options()
    for name in ("batch_size", "concurrency", "timeout", "max_retries", "encoding_format"):
        value = getattr(defaults, name)
        shown = value if isinstance(value, str) else f"{value:g}"
        assert f"default: {shown}" in _client._OPTIONS[name]["help"]


REQUEST_OPTIONS = [
    "--model=m", "--dimensions=4", "--input-type=search_document", "--provider=zdr=true",
    "--user=u", "--extra-body=more=1", "--encoding-format=float", "--batch-size=2",
    "--concurrency=1", "--timeout=7", "--max-retries=0",
]  # fmt: skip


@pytest.mark.parametrize("command", ["embed", "run"])
def test_options_reach_the_client_and_its_requests(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Request fields are sent; the client gets the time-out, retries and concurrency."""
    (tmp_path / "s.txt").write_text("a\nb\nc\n")
    service = Service(lambda body, _: {**answer(body["input"]), "usage": {"cost": 1}})
    made: list[Any] = []

    def client(**options: Any) -> Any:
        made.append(options)
        http = httpx.Client(transport=httpx.MockTransport(service.handle))
        return ore.Client(KEY, http_client=http, **options)

    monkeypatch.setattr("openrouter_embeddings.client.Client.local", client)
    what = ["a", "b", "c"] if command == "embed" else [tmp_path / "s.txt", "-o", tmp_path / "t.npy"]
    status = cli.main([command, *map(str, what), "--local", *REQUEST_OPTIONS, "--budget=0.5"])
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


def test_a_job_with_other_options_does_not_reuse_the_target(tmp_path: Path) -> None:
    """If the input type or the provider differs from those of a finished target, `run` fails."""
    (tmp_path / "s.txt").write_text("a\n")
    for options, words in [
        (["--input-type", "search_document", "--provider", "zdr=true"], "1 rows"),
        (
            ["--provider", '{"zdr": true}', "--input-type", "search_document"],
            "this run sent no request",
        ),
        (["--input-type", "search_query", "--provider", "zdr=true"], "input_type: 'search_docum"),
        (["--input-type", "search_document"], "provider: {'zdr': True}, now None"),
        (["--input-type", "search_document", "--provider", "zdrr=true"], "unknown key zdrr"),
    ]:
        done = orembed("run", "s.txt", "-o", "t.npy", *HASH, *options, cwd=tmp_path)
        assert words in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_text_can_be_printed_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    """JSON is always valid UTF-8; other text has escapes for characters the encoding lacks."""
    text, row = "naïve 中文 😀 \x81", {"text": "naïve 中文 😀 \x81", "ä": "中"}
    (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
    for target, *options in (("t.jsonl", "--column", "text"), ("中.npy", "--template", "ä {text}")):
        done = orembed("run", "s.jsonl", "-o", target, *HASH, *options, cwd=tmp_path)
        assert done.returncode == 0

    def printed(*arguments: str) -> bytes:
        done = orembed(*arguments, cwd=tmp_path, encoding=encoding)
        assert done.returncode == 0
        return done.stdout.encode(encoding)

    found = printed("search", "t.jsonl", "a", "--local")
    assert json.loads(found.decode())["columns"] == row
    assert (text.encode() in found) == (encoding == "utf-8")
    assert json.loads(printed("info", "中.npy", "--json").decode())["template"] == "ä {text}"
    wanted = {"ascii": "\\u00e4 {text}"}.get(encoding, "ä {text}")
    assert f"template          {wanted}" in printed("info", "中.npy").decode(encoding)
    wanted = {"ascii": "\\u2026"}.get(encoding, "…")
    assert f'"embedding":[{wanted}]' in printed("embed", "--help").decode(encoding)


def test_an_error_is_a_json_record_with_json(tmp_path: Path) -> None:
    """With --json the last line has the error, its status, and how to continue."""
    (tmp_path / "s.txt").write_text("".join(f"text {n}\n" for n in range(40)))
    small = [*HASH[1:], "--batch-size", "2", "--concurrency", "1"]
    nothing, kept = "nothing has been embedded; ", "the vectors so far are kept; "
    for options, wanted in [
        (["--model", "local/status-401"], ("AuthenticationError", 1, nothing + "fix that")),
        (["--model", "local/status-402"], ("PaymentRequiredError", 3, nothing + "add credits")),
        ([*small, "--budget", "0.0000005"], ("BudgetExceededError", 3, kept)),
        ([*small, "--column", "x"], ("InputError", 2, None)),
        ([*small, "--input-type", "x"], ("JobError", 1, None)),
    ]:
        done = orembed("run", "s.txt", "-o", "t.npy", "--local", "--json", *options, cwd=tmp_path)
        error = json.loads(done.stdout.splitlines()[-1])["error"]
        assert (error["type"], error["exit_status"]) == wanted[:2]
        assert error["exit_status"] == done.returncode
        assert error["message"] in done.stderr
        hint = wanted[2]
        assert error["hint"] is None if hint is None else error["hint"].startswith(hint)
        assert hint is None or error["hint"] in done.stderr


def test_an_interrupted_job_is_a_json_record_with_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C has a status and a hint like every other error."""
    (tmp_path / "s.txt").write_text("a\n")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "embed_file", interrupted)
    done = orembed("run", "s.txt", "-o", "t.npy", "--local", "--json", cwd=tmp_path)
    assert done.returncode == 130
    assert json.loads(done.stdout)["error"] == {
        "type": "KeyboardInterrupt",
        "message": "interrupted",
        "exit_status": 130,
        "hint": "nothing has been embedded; run the same command again to continue",
    }


def test_costs_in_json_have_no_exponent(tmp_path: Path) -> None:
    """They are decimal text, exact."""
    (tmp_path / "s.txt").write_text("abcd\n")
    job = ["run", "s.txt", "-o", "t.npy", *HASH, "--json"]
    done = orembed(*job, cwd=tmp_path)
    usage = json.loads(done.stdout.splitlines()[-1])["report"]["usage"]
    assert usage["cost"] == "0.00000008"
    assert "E-" not in done.stdout
    done = orembed(*job, "--dry-run", "--price", "0.02", cwd=tmp_path)
    assert json.loads(done.stdout)["estimate"]["cost"] == "0.00000002"


@pytest.mark.parametrize("command", ["run", "search"])
def test_all_missing_extras_are_named_at_once(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One `pip install` line covers everything that the command lacks."""
    (tmp_path / "s.txt").write_text("a\n")
    for module in ("pyarrow", "jsonschema_rs"):
        monkeypatch.setitem(sys.modules, module, None)
    arguments = ["s.txt", "-o", "t.parquet"] if command == "run" else ["t.parquet", "a"]
    done = orembed(command, *arguments, "--local", cwd=tmp_path)
    assert done.returncode == 1
    assert 'pip install "openrouter-embeddings[jobs,local]"' in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "s3://bucket/x.txt", "-o", "t.npy", "--local"],
        ["run", "s.txt", "-o", "s3://bucket/t.npy", "--local"],
        ["run", "s.txt", "-o", "t.npy", "--cache", "s3://bucket/cache", "--local"],
        ["info", "s3://bucket/t.npy"],
        ["search", "s3://bucket/t.npy", "a", "--local"],
        ["map", "s3://bucket/t.npy", "-o", "m.html"],
        ["map", "done.npy", "-o", "s3://bucket/m.html"],
    ],
)
def test_a_url_is_not_a_path(tmp_path: Path, arguments: list[str]) -> None:
    """The error says that addresses are not supported; no directory of that name appears."""
    (tmp_path / "s.txt").write_text("a\nb\nc\n")
    assert orembed("run", "s.txt", "-o", "done.npy", *HASH, cwd=tmp_path).returncode == 0
    done = orembed(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "URLs such as s3://… are not supported" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {
        "s.txt",
        "done.npy",
        "done.npy.provenance.json",
    }


def test_an_unclear_text_column_is_asked_for_by_its_option(tmp_path: Path) -> None:
    """The error names the argument, the option and the columns."""
    (tmp_path / "s.jsonl").write_text('{"a": "x", "b": "y"}\n')
    done = orembed("run", "s.jsonl", "-o", "t.npy", "--local", cwd=tmp_path)
    assert done.returncode == 2
    assert "Name it with column (--column); the columns are a, b" in done.stderr


def test_a_stopping_job_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While requests are in flight, a line says so and how to stop at once."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with _progress.progress_listener(as_json=False) as listener:
        for in_flight in (1, 0):  # none in flight: no line
            listener(jobs.Progress("stopping", 1, 2, 0, 1, 0, 0, in_flight, 4, ore.Usage(), 10.0))
    assert capsys.readouterr().err == (
        "orembed: finishing the requests already sent; Ctrl-C again drops them\n"
    )
