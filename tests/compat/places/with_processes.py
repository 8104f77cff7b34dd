"""multiprocessing, and the pools of concurrent.futures."""

import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openrouter_embeddings as ore
import pytest

from tests.compat.loopback import KEY, Service, vector
from tests.compat.programs import write
from tests.compat.rows import Row

ROW = Row("multiprocessing", "a client at the top of the module; `spawn`, `fork`, `forkserver`", "")
THREADS = Row("ThreadPoolExecutor", "threads share a client", "")
methods = pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
ASYNC = """
import asyncio
shared = ore.AsyncClient(model="m")
asyncio.run(shared.embed("before"))
client.embed("before")

def embed(texts):
    rows = client.embed(texts).vectors
    assert (rows == asyncio.run(shared.embed(texts)).vectors).all()
    return rows

"""


@ROW.sync
@ROW.asynchronous
@methods
def test_the_program_of_the_page_runs(service: Service, tmp_path: Path, method: str) -> None:
    """Also with clients that its parent has used, blocking and asynchronous."""
    write(tmp_path, "multiprocessing")
    path = tmp_path / "corpus.py"
    main = 'if __name__ == "__main__":\n'
    start = f"    import multiprocessing\n    multiprocessing.set_start_method({method!r})\n"
    for code in ("", ASYNC):
        text = path.read_text().replace(main, code + main + start)
        (tmp_path / "changed.py").write_text(text)
        output = subprocess.run(
            [sys.executable, "changed.py"],
            cwd=tmp_path, env=service.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert output.stdout == "(2, 4)\n(1, 4)\n", output.stderr
        assert output.stderr == ""


@ROW.sync
@methods
def test_a_client_that_is_passed_to_a_process_is_refused_in_words(
    service: Service, method: str
) -> None:
    """The error does not show the key, and says what to do."""
    client: Any = ore.Client(KEY, base_url=service.url, model="m")
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for work, arguments in [(client.embed, ("a",)), (repr, (client,))]:
            with pytest.raises(TypeError, match=r"cannot be pickled.*make one in each process"):
                pool.submit(work, *arguments).result(60)
    with pytest.raises(TypeError, match="make one in each process") as raised:
        pickle.dumps(client)
    assert KEY not in str(raised.value)
    client.close()


@THREADS.sync
def test_threads_share_a_client(service: Service) -> None:
    """Eight requests are in flight together, and each thread gets its vectors."""
    service.crowd = 8
    with (
        ore.Client(KEY, base_url=service.url, model="together") as client,
        ThreadPoolExecutor(16) as threads,
    ):
        texts = [f"text {number}" for number in range(40)]
        results = [*threads.map(client.embed, texts)]
    assert [one.vectors.tolist() for one in results] == [[vector(text)] for text in texts]
