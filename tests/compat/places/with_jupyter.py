"""A Jupyter kernel."""

import asyncio
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from tests.compat.loopback import Service
from tests.compat.programs import blocks
from tests.compat.rows import Row

nbformat: Any = import_module("nbformat")
nbclient: Any = import_module("nbclient")
CellExecutionError: type[Exception] = import_module("nbclient.exceptions").CellExecutionError
ROW = Row("Jupyter", "`await` in a cell; interrupting it aborts its requests", "ipykernel")
TICK = """
import asyncio
async def tick():
    while True:
        await asyncio.sleep(0.05)
ticking = asyncio.create_task(tick())
"""
# the threads of a call end soon after it
ENDED = """
import asyncio, threading
threads = [t for t in threading.enumerate() if t.name == "openrouter-embeddings"]
for thread in threads:
    thread.join(20)
[thread for thread in threads if thread.is_alive()]
"""


class Notebook:
    """Cells that a kernel executes.

    Attributes:
        client: of nbclient.
    """

    def __init__(self) -> None:
        self.client = nbclient.NotebookClient(nbformat.v4.new_notebook(), timeout=60)

    def run(self, code: str) -> str:
        """Execute a cell. Returns its value as text. Raises CellExecutionError."""
        cells = self.client.nb.cells
        cells.append(nbformat.v4.new_code_cell(code))
        self.client.execute_cell(cells[-1], len(cells) - 1)
        outputs = cells[-1].outputs
        assert all(output.output_type == "execute_result" for output in outputs), outputs
        return outputs[-1].data["text/plain"] if outputs else ""

    def interrupt(self) -> None:
        """Interrupt the cell that is running."""
        asyncio.run(self.client.km.interrupt_kernel())


@pytest.fixture
def notebook(service: Service) -> Iterator[Notebook]:
    """A notebook whose kernel uses the service."""
    notebook = Notebook()
    with notebook.client.setup_kernel(env=service.environment):
        yield notebook


@ROW.asynchronous
def test_cells_share_a_client_and_can_be_repeated(notebook: Notebook, service: Service) -> None:
    """The second cell runs twice on one connection; after the first, there is another client."""
    first, second = blocks("Jupyter")
    notebook.run(first)
    assert [notebook.run(second) for _ in range(2)] == ["(2, 4)"] * 2
    assert service.opened == 1
    notebook.run(first)
    assert notebook.run(second) == "(2, 4)"


@ROW.sync
def test_the_blocking_client_works_in_the_kernels_event_loop(notebook: Notebook) -> None:
    """Also in a cell that awaits, and in several batches."""
    notebook.run(blocks("Jupyter")[0].replace("AsyncClient", "Client"))
    several = "[*'abcdef'], batch_size=1, concurrency=3"
    assert notebook.run(f"client.embed({several}).vectors.shape") == "(6, 4)"
    cell = f"import asyncio; await asyncio.sleep(0); client.embed({several}).vectors.shape"
    assert notebook.run(cell) == "(6, 4)"


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        pytest.param("Client", "client.embed", marks=ROW.sync),
        pytest.param("AsyncClient", "await client.embed", marks=ROW.asynchronous),
    ],
)
@pytest.mark.parametrize("count", [1, 6])
def test_interrupting_a_cell_aborts_its_requests(
    notebook: Notebook, service: Service, kind: str, call: str, count: int
) -> None:
    """The next cell can use the client. ipykernel sees the interrupt when its event loop wakes."""
    notebook.run(blocks("Jupyter")[0].replace("AsyncClient", kind) + TICK)

    def interrupt() -> None:
        service.wait_for(lambda: service.arrived["held 0"])
        notebook.interrupt()

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    texts = [f"held {number}" for number in range(count)]
    with pytest.raises(CellExecutionError, match=r"KeyboardInterrupt|CancelledError"):
        notebook.run(f"{call}({texts}, model='held', batch_size=1)")
    interrupting.join()
    assert notebook.run(f"({call}(['a', 'b'], batch_size=1)).vectors.shape") == "(2, 4)"
    assert notebook.run(ENDED) == "[]"
    tasks = "len([t for t in asyncio.all_tasks() if 'embed' in repr(t.get_coro())])"
    assert notebook.run(tasks) == "0"
