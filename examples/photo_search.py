"""Find the photographs that look most like a picture, or with --remote those that a text describes.

pip install ".[jobs,local]"

python examples/photo_search.py crop.png             with the local stand-in: no key, no network
python examples/photo_search.py "a cat" --remote --model google/gemini-embedding-2

The vectors of the photographs are kept in a file, so only the first search pays for them.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openrouter_embeddings as ore
import pyarrow.parquet as pq
from openrouter_embeddings import jobs

PHOTOS = Path(__file__).parent / "photos"


def load(file: Path) -> tuple[list[str], np.ndarray]:
    """The paths and the vectors of a job's file, without the images that could not be embedded."""
    table = pq.read_table(file).drop_null()
    column = table["embedding"].combine_chunks()
    return table["path"].to_pylist(), column.flatten().to_numpy().reshape(len(column), -1)


def search(client: ore.Client, query: str, file: Path, k: int) -> Iterator[tuple[str, float]]:
    """The paths of the nearest photographs, the nearest first, with their cosine similarity."""
    paths, vectors = load(file)
    asked = client.embed(ore.Image(query) if Path(query).exists() else query).vectors[0]
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(asked)
    similarities = vectors @ asked / lengths
    for row in np.argsort(-similarities)[:k]:
        yield paths[row], float(similarities[row])


def main() -> None:
    """Embed the photographs that have no vectors yet, then search."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("query", help="an image file; with a model that reads both, also a text")
    parser.add_argument(
        "--photos", type=Path, default=PHOTOS, help="a folder; default: %(default)s"
    )
    parser.add_argument(
        "--vectors", type=Path, default=Path("photos.parquet"), help="a file for them"
    )
    parser.add_argument("-k", type=int, default=3, help="how many to print; default: %(default)s")
    parser.add_argument("--remote", action="store_true", help="use the service, not the stand-in")
    parser.add_argument("--model", help="with --remote: a multimodal model")
    args = parser.parse_args()
    if args.remote and not args.model:
        parser.error("name a multimodal --model")
    if not args.remote and not Path(args.query).exists():
        parser.error(f"there is no image {args.query}; the stand-in cannot search by text")

    make_client = ore.Client if args.remote else ore.Client.local
    with make_client(model=args.model or "local/visual") as client:
        report = jobs.embed_file(args.photos, args.vectors, client=client)
        for path, similarity in search(client, args.query, args.vectors, args.k):
            print(f"{similarity:.3f}  {path}")
    print(f"{report.usage.requests} requests for {report.rows} photographs")


if __name__ == "__main__":
    try:
        main()
    except ore.EmbeddingsError as error:
        sys.exit(f"photo_search: {error}")
