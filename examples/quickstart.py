"""Search the standard library's documentation, and find a photograph by a piece of it.

python examples/quickstart.py            with the local stand-in: no key, no network
python examples/quickstart.py --remote   with the service; needs OPENROUTER_API_KEY
"""

import argparse
import ast
import importlib.util
import io
import sys
import time
from pathlib import Path

import openrouter_embeddings as ore
import PIL.Image

PHOTOS = Path(__file__).parent / "photos"
QUESTIONS = [
    "read a zip archive",
    "parse command line arguments",
    "which weekday was a date",
    "compare two texts line by line",
    "guess the type of a file from its name",
]
MAX_LENGTH = 1200  # characters per docstring; the local model reads only 256 tokens


def library_docs() -> dict[str, str]:
    """The docstring of each standard library module, without importing the module."""
    docs = {}
    for name in sorted(sys.stdlib_module_names):
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # a module for another platform
            continue
        if name.startswith("_") or spec is None or not (spec.origin or "").endswith(".py"):
            continue
        source = Path(spec.origin or "").read_bytes()
        if doc := ast.get_docstring(ast.parse(source)):
            docs[name] = f"{name}: {doc}"[:MAX_LENGTH]
    return docs


def search_library(client: ore.Client) -> tuple[ore.Usage, float]:
    """Print the best modules for each question. Returns the usage, and documents per second."""
    docs = library_docs()
    names = list(docs)
    print(f"\nEmbedding the documentation of {len(docs)} standard library modules …")
    start = time.perf_counter()
    documents = client.embed_documents(list(docs.values()), batch_size=32)
    rate = len(docs) / (time.perf_counter() - start)
    questions = client.embed_query(QUESTIONS)  # all questions in one request

    print(f"\n{'Question':42}Best modules, with cosine similarity ({documents.model})")
    for question, rows, cosines in zip(QUESTIONS, *documents.nearest(questions, k=3), strict=True):
        best = [f"{names[row]} {cosine:.2f}" for row, cosine in zip(rows, cosines, strict=True)]
        print(f"  {question:40}{', '.join(best)}")
    return documents.usage + questions.usage, rate


def find_photo(client: ore.Client, model: str) -> ore.Usage:
    """Crop a photograph and print how similar each photograph is to the crop."""
    with PIL.Image.open(PHOTOS / "cat.jpg") as cat:
        width, height = cat.size
        crop = cat.crop((width // 4, height // 6, width * 7 // 8, height * 7 // 8))
    png = io.BytesIO()
    crop.save(png, "PNG")

    paths = sorted(PHOTOS.glob("*.jpg"))
    photos = client.embed([*map(ore.Image, paths)], model=model)
    query = client.embed(ore.Image(png.getvalue()), model=model)
    (rows,), (cosines,) = photos.nearest(query, k=len(paths))
    print(f"\n{'Photograph':42}Cosine similarity to a crop of cat.jpg ({photos.model})")
    for row, cosine in zip(rows, cosines, strict=True):
        print(f"  {paths[row].name:40}{cosine:.3f}")
    print(f"The crop of cat.jpg is closest to {paths[rows[0]].name}.")
    return photos.usage + query.usage


def main() -> None:
    """Run both searches, then print what they cost and how to use the service."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--remote", action="store_true", help="use the service, not the stand-in")
    parser.add_argument(
        "--model", help="text model; default: local/minilm, or openai/text-embedding-3-small"
    )
    parser.add_argument("--image-model", help="image model; default: local/visual, or no images")
    args = parser.parse_args()

    text_model = args.model or ("openai/text-embedding-3-small" if args.remote else "local/minilm")
    image_model = args.image_model or (None if args.remote else "local/visual")
    make_client = ore.Client if args.remote else ore.Client.local
    with make_client(model=text_model) as client:
        usage, rate = search_library(client)
        if image_model:
            usage += find_photo(client, image_model)
        else:
            print("\nTo search images, name a multimodal model with --image-model.")

    cost = "unknown" if usage.cost is None else f"{usage.cost:f} credits"
    note = "" if args.remote else " (simulated: the stand-in is free)"
    print(f"\n{usage.prompt_tokens} tokens in {usage.requests} requests, ", end="")
    print(f"cost {cost}{note}; {rate:.0f} documents/s.")
    if not args.remote:
        print("\nTo do the same with the service:")
        print("  export OPENROUTER_API_KEY=…       # from https://openrouter.ai/keys")
        print("  .venv/bin/python examples/quickstart.py --remote")


if __name__ == "__main__":
    try:
        main()
    except ore.EmbeddingsError as error:
        sys.exit(f"quickstart: {error}")
