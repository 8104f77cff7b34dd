"""The main job on real input: search the standard library's documentation, find a photograph.

python examples/quickstart.py            on the local stand-in: no key, no network
python examples/quickstart.py --remote   on the service; needs OPENROUTER_API_KEY
"""

import argparse
import ast
import importlib.util
import io
import sys
import time
from pathlib import Path

import numpy as np
import openrouter_embeddings as ore
from numpy.typing import NDArray
from PIL import Image as Picture

PHOTOS = Path(__file__).parent / "photos"
QUESTIONS = (
    "read a zip archive",
    "parse command line arguments",
    "which weekday was a date",
    "compare two texts line by line",
    "guess the type of a file from its name",
)
LONGEST = 1200  # characters of a docstring; the local model reads 256 tokens


def library_docs() -> dict[str, str]:
    """The docstrings of the standard library's modules, by module; nothing is imported."""
    docs = {}
    for name in sorted(sys.stdlib_module_names):
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # a module of another platform
            continue
        if name.startswith("_") or spec is None or not (spec.origin or "").endswith(".py"):
            continue
        source = Path(spec.origin or "").read_bytes()
        if doc := ast.get_docstring(ast.parse(source)):
            docs[name] = f"{name}: {doc}"[:LONGEST]
    return docs


def search_the_library(client: ore.Client) -> tuple[ore.Usage, float]:
    """Rank the modules for each question by cosine; what it took, and documents a second."""
    docs = library_docs()
    names = list(docs)
    print(f"\nEmbedding the documentation of {len(names)} standard modules …")
    began = time.perf_counter()
    documents = client.embed_documents(list(docs.values()), batch_size=32)
    rate = len(docs) / (time.perf_counter() - began)
    questions = client.embed_query(QUESTIONS)  # five inputs, one request

    print(f"\n{'question':42}the modules that fit best (cosine), by {documents.model}")
    cosines = unit(questions.vectors) @ unit(documents.vectors).T
    for question, row in zip(QUESTIONS, cosines, strict=True):
        best = np.argsort(-row)[:3]
        print(f"  {question:40}" + ", ".join(f"{names[i]} {row[i]:.2f}" for i in best))
    return documents.usage + questions.usage, rate


def find_the_crop(client: ore.Client, model: str) -> ore.EmbeddingResult:
    """Cut a piece out of one photograph and find out by vectors which one it was."""
    paths = sorted(PHOTOS.glob("*.jpg"))
    with Picture.open(PHOTOS / "cat.jpg") as cat:
        width, height = cat.size
        piece = cat.crop((width // 4, height // 6, width * 7 // 8, height * 7 // 8))
    file = io.BytesIO()
    piece.save(file, "PNG")

    images = client.embed([*map(ore.Image, paths), ore.Image(file.getvalue())], model=model)
    *known, asked = unit(images.vectors)
    cosines = np.array(known) @ asked
    print(f"\n{'photograph':42}cosine with the crop, by {images.model}")
    for i in np.argsort(-cosines):
        print(f"  {paths[i].name:40}{cosines[i]:.3f}")
    found = paths[int(np.argmax(cosines))].name
    print(f"The crop of cat.jpg is closest to {found}.")
    return images


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; the service's are so only to about 2e-4."""
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


def main() -> None:
    """Run both jobs, then say what they took and how to use the real service."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--remote", action="store_true", help="use the service, not the stand-in")
    parser.add_argument(
        "--model", help="for texts; default: openai/text-embedding-3-small, local/minilm"
    )
    parser.add_argument("--image-model", help="for images; default: none, local/visual")
    given = parser.parse_args()

    text_model = given.model or (
        "openai/text-embedding-3-small" if given.remote else "local/minilm"
    )
    image_model = given.image_model or (None if given.remote else "local/visual")
    make = ore.Client if given.remote else ore.Client.local
    with make(model=text_model) as client:
        usage, rate = search_the_library(client)
        images = find_the_crop(client, image_model) if image_model else None
    if images is None:
        print("No images: name a multimodal model with --image-model.")

    usage = usage + images.usage if images else usage
    cost = "not said" if usage.cost is None else f"{usage.cost:f} credits"
    pretended = "" if given.remote else " (pretended: the stand-in is free)"
    print(
        f"\n{usage.prompt_tokens} tokens in {usage.requests} requests, cost {cost}{pretended}; "
        f"{rate:.0f} documents/s.",
    )
    if not given.remote:
        print("\nThe same on the real service:")
        print("  export OPENROUTER_API_KEY=…       from https://openrouter.ai/keys")
        print("  .venv/bin/python examples/quickstart.py --remote")


if __name__ == "__main__":
    try:
        main()
    except ore.EmbeddingsError as error:
        sys.exit(f"quickstart: {error}")
