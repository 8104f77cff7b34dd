"""The stand-in's models: minilm, visual and hash."""

import io
import sys
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import PIL.Image
import PIL.ImageEnhance
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openrouter_embeddings._extras import need
from openrouter_embeddings.local.models import minilm, wordpiece

from tests.support import ROOT, TEXT, ended

PHOTOS = ROOT / "examples" / "photos"


def embed(model: str, inputs: object, **options: int) -> ore.EmbeddingResult:
    """The result of one call."""
    with ore.Client.local(model=model) as client:
        return client.embed(inputs, **options)  # type: ignore[arg-type]


def test_minilm_knows_meaning() -> None:
    """A paraphrase without a common word is closer than an unrelated sentence."""
    cat, kitten, stocks = embed(
        "local/minilm", ["a cat sat on the mat", "the kitten rests on a rug", "shares fell sharply"]
    ).vectors
    assert cat @ kitten > 0.5
    assert cat @ stocks < 0.2


def test_minilm_agrees_with_the_published_model() -> None:
    """The vector of the model card's sentence begins with the published values."""
    published = [0.0676569, 0.0634959, 0.0487131, 0.0793049, 0.0374480]
    vector = embed("local/minilm", "This is an example sentence").vectors[0]
    assert vector.shape == (384,)
    assert vector[:5] == pytest.approx(published, abs=0.02)  # int8 weights move the third digit


def test_minilm_accepts_tokens_instead_of_a_text() -> None:
    """The numbers of [CLS] this [SEP] get the vector of the text `this`."""
    by_text, by_tokens = embed("local/minilm", "this"), embed("local/minilm", [101, 2023, 102])
    assert np.array_equal(by_text.vectors, by_tokens.vectors)
    assert by_text.usage.prompt_tokens == by_tokens.usage.prompt_tokens == 3


@pytest.mark.parametrize("dimensions", [32, 128, 384])
def test_minilm_shortens_by_truncation(dimensions: int) -> None:
    """A shorter vector is the first part of the whole one, normalised again."""
    whole = embed("local/minilm", "a cat").vectors[0]
    short = embed("local/minilm", "a cat", dimensions=dimensions).vectors[0]
    expected = whole[:dimensions] / np.linalg.norm(whole[:dimensions])
    assert short == pytest.approx(expected, abs=1e-6)


def test_minilm_reads_the_first_256_tokens() -> None:
    """Text after them neither changes the vector nor counts in `usage`."""
    long, longer = embed("local/minilm", ["word " * 254, "word " * 254 + "zebra " * 100]).vectors
    assert np.array_equal(long, longer)
    assert embed("local/minilm", "word " * 999).usage.prompt_tokens == 256


def test_a_vector_does_not_depend_on_the_batch() -> None:
    """A text gets the same bits alone and in a batch of texts of other lengths."""
    texts = ["a", "a cat", "word " * 200, "a dog and a cat sat on a mat"] * 5
    together = embed("local/minilm", texts).vectors
    alone = np.concatenate([embed("local/minilm", text).vectors for text in texts])
    assert np.array_equal(together, alone)


def test_minilm_rejects_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """It checks the sha256 of the model file before it loads the file."""
    monkeypatch.setattr(minilm, "SHA256", "0" * 64)
    minilm._load.cache_clear()
    with pytest.raises(RuntimeError, match="have sha256 8199be6f"):
        minilm._session()
    minilm._load.cache_clear()


def test_threads_of_a_first_call_load_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight requests at once load one model, because loading takes time and memory."""
    made: list[object] = []
    onnxruntime = need("onnxruntime", "local")
    load = onnxruntime.InferenceSession

    def remember(*arguments: object, **options: object) -> object:
        made.append(load(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", remember)
    minilm._load.cache_clear()
    with ore.Client.local(batch_size=1) as client:
        client.embed(["a"] * 8)
    assert len(made) == 1


def test_the_vocabulary_is_complete() -> None:
    """It has 30,522 words, in the order that the model was trained with."""
    lines = wordpiece.VOCABULARY.read_text("utf-8").splitlines()
    assert len(lines) == wordpiece.SIZE
    assert [lines[0], lines[100], lines[101], lines[102], lines[2023]] == [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "this",
    ]


@settings(deadline=None)
@given(TEXT, st.integers(1, 300))
def test_hash_is_deterministic_and_of_any_width(text: str, dimensions: int) -> None:
    """A text gets the same unit vector alone and among other inputs."""
    alone = embed("local/hash", text, dimensions=dimensions).vectors
    again = embed("local/hash", ["other", ore.Content(text)], dimensions=dimensions).vectors
    assert alone.shape == (1, dimensions)
    assert np.linalg.norm(alone) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(alone[0], again[1])


def test_hash_keeps_different_inputs_apart() -> None:
    """Different texts get nearly orthogonal vectors."""
    vectors = embed("local/hash", [f"text {n}" for n in range(50)], dimensions=512).vectors
    cosines = vectors @ vectors.T - np.eye(50)
    assert np.abs(cosines).max() < 0.3


def jpeg(picture: PIL.Image.Image) -> ore.Image:
    """A picture as a file in memory."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=60)
    return ore.Image(out.getvalue())


@pytest.mark.parametrize("name", sorted(path.name for path in PHOTOS.glob("*.jpg")))
def test_visual_finds_copies_and_crops(name: str) -> None:
    """A smaller, darker or cropped copy is closest to its original."""
    paths = sorted(PHOTOS.glob("*.jpg"))
    with PIL.Image.open(PHOTOS / name) as photo:
        w, h = photo.size
        changed = [
            jpeg(photo.resize((w // 3, h // 3))),
            jpeg(PIL.ImageEnhance.Brightness(photo).enhance(0.9)),
            jpeg(photo.crop((w // 10, h // 10, w * 9 // 10, h * 9 // 10))),
        ]
    known = embed("local/visual", [ore.Image(path) for path in paths]).vectors
    found = embed("local/visual", changed).vectors @ known.T
    assert {paths[int(i)].name for i in found.argmax(axis=1)} == {name}


def test_a_missing_extra_raises() -> None:
    """The error names the command that installs the extra."""
    with pytest.raises(ImportError, match=r'pip install "openrouter-embeddings\[local\]"'):
        need("no_such_module_anywhere", "local")


@settings(max_examples=30)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1), min_size=9),
    st.sampled_from([" ", "\n\n", "  \t"]),
)
def test_the_limit_on_characters_does_not_change_the_first_tokens(
    words: list[str], space: str
) -> None:
    """A text with 256 tokens in its first 65,536 characters keeps them."""
    line = space.join(words) + space
    text = line * (2 * wordpiece.MOST_CHARACTERS // len(line) + 1)
    whole = wordpiece.tokenizer().encode(text).ids
    assert len(whole) == wordpiece.LONGEST
    assert wordpiece.encode([text]) == [whole]


def test_a_text_is_truncated_before_it_is_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizer never sees more than the limit; a text of 63 MB would take 4 GB."""
    seen: list[int] = []

    class Spy:
        def encode(self, text: str) -> Any:
            seen.append(len(text))
            return tokenizer.encode(text)

    tokenizer = wordpiece.tokenizer()
    monkeypatch.setattr(wordpiece, "tokenizer", Spy)
    most = wordpiece.MOST_CHARACTERS
    texts = ["word " * most, " " * most + "unread", "short"]
    for model in ("local/minilm", "local/hash"):
        assert embed(model, texts).usage.prompt_tokens == 256 + 2 + 3
    assert seen == [most, most, 5] * 2


def test_a_text_without_tokens_gets_a_vector() -> None:
    """An accent alone leaves only [CLS] and [SEP], which get a vector."""
    assert embed("local/minilm", "\u0301").usage.prompt_tokens == 2


def test_visual_sees_grey_images_of_16_bits() -> None:
    """An image of 16 bits gets nearly the vector of the same image of 8 bits."""
    levels = np.linspace(0, 255, 128 * 128).reshape(128, 128).astype(np.uint8)
    pictures = [PIL.Image.fromarray(levels), PIL.Image.fromarray(levels.astype(np.uint16) * 257)]
    assert [picture.mode for picture in pictures] == ["L", "I;16"]
    eight, sixteen = embed("local/visual", [ore.Image(picture) for picture in pictures]).vectors
    assert eight @ sixteen > 0.999


def test_visual_sees_palettes_with_transparency() -> None:
    """A palette image with transparency gets the vector of the image without transparency."""
    picture = PIL.Image.effect_mandelbrot((128, 128), (-3, -2.5, 2, 2.5), 100).convert("P")
    out = io.BytesIO()
    picture.save(out, "PNG", transparency=bytes(range(256)))
    plain, transparent = embed(
        "local/visual", [ore.Image(picture), ore.Image(out.getvalue())]
    ).vectors
    assert np.array_equal(plain, transparent)


def test_a_program_may_end_while_minilm_computes() -> None:
    """A thread that returns from onnxruntime at exit does not abort the program."""
    program = """
import sys, threading
from openrouter_embeddings.local.models.minilm import MiniLM
from openrouter_embeddings.local.models.parts import Part

def embed():
    while True:
        MiniLM().embed([[Part("text", text="a cat sat on the mat " * 40)]] * 4, None)
        begun.set()

begun = threading.Event()
for _ in range(2):
    threading.Thread(target=embed, daemon=True).start()
begun.wait()
sys.exit(3)
"""
    done = ended(sys.executable, "-c", program)
    assert (done.returncode, "terminate" in done.stderr) == (3, False)
