"""Other web frameworks, Streamlit and trio."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest

from tests.compat.loopback import KEY, PATIENCE, Service, vector
from tests.compat.programs import free_port, running, wait_until
from tests.compat.rows import Row

FLASK = Row("Flask's development server", "a client at the top of the module", "flask")
DJANGO = Row("Django's development server", "a client at the top of the module", "django")
STREAMLIT = Row("Streamlit", "a `Client` from `@st.cache_resource`", "streamlit")
TRIO = Row("trio", "`Client` in a thread; `AsyncClient` raises `InputError`", "trio")
IN_FLASK = """
import openrouter_embeddings as ore
from flask import Flask

client = ore.Client(model="together")
app = Flask(__name__)

@app.get("/<text>")
def embed(text):
    return client.embed(text).vectors.tolist()
"""
IN_DJANGO = """
import openrouter_embeddings as ore
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import JsonResponse
from django.urls import path

client = ore.Client(model="together")

def embed(request, text):
    return JsonResponse(client.embed(text).vectors.tolist(), safe=False)

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="none", DEBUG=True)
urlpatterns = [path("<text>", embed)]
execute_from_command_line()
"""


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        pytest.param("app.py", IN_FLASK, ["-m", "flask", "run", "--port"], marks=FLASK.sync),
        pytest.param("site.py", IN_DJANGO, ["site.py", "runserver"], marks=DJANGO.sync),
    ],
)
def test_the_threads_of_a_development_server_share_a_client(
    service: Service, tmp_path: Path, name: str, code: str, words: list[str]
) -> None:
    """Eight requests are in flight together."""
    service.crowd = 8
    (tmp_path / name).write_text(code)
    port = free_port()
    more = ["--noreload"] if "runserver" in words else []
    with (
        running([sys.executable, *words, str(port), *more], tmp_path, service) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as browser,
        ThreadPoolExecutor(16) as threads,
    ):
        wait_until(partial(responds, port), process)
        answers = threads.map(lambda number: browser.get(f"/{number}").json(), range(40))
        assert [*answers] == [[vector(f"{number}")] for number in range(40)]
    assert set(service.arrived.values()) == {1}


def responds(port: int) -> bool:
    """Whether something listens on this port."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


IN_STREAMLIT = """
import openrouter_embeddings as ore
import streamlit as st

@st.cache_resource
def client():
    return ore.Client(model="m")

st.button("again")
st.write(str(client().embed(["a", "b"], batch_size=1).vectors.shape), str(id(client())))
"""


@STREAMLIT.sync
def test_all_sessions_of_streamlit_share_a_client(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So do the reruns of a session."""
    for name in ("OPENROUTER_BASE_URL", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, service.environment[name])
    make: Any = import_module("streamlit.testing.v1").AppTest.from_string
    seen = set()
    for _ in range(2):
        page = make(IN_STREAMLIT).run(timeout=PATIENCE)
        page.button[0].click().run(timeout=PATIENCE)
        assert not page.exception
        seen.add(page.markdown[0].value)
    assert len(seen) == 1
    assert seen.pop().startswith("(2, 4) ")


@TRIO.sync
def test_a_program_of_trio_calls_the_blocking_client_in_a_thread(service: Service) -> None:
    """The asyncio client raises an error that says so."""
    trio: Any = import_module("trio")
    client = ore.Client(KEY, base_url=service.url, model="m")

    async def main() -> Any:
        with pytest.raises(ore.InputError, match="use Client elsewhere"):
            await ore.AsyncClient(KEY, base_url=service.url, model="m").embed("a")
        return await trio.to_thread.run_sync(client.embed, ["a"])

    with client:
        assert trio.run(main).vectors.tolist() == [vector("a")]
