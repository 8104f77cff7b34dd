"""WordPiece, lower-case, as all-MiniLM-L6-v2 was trained with: for tokens and for counting them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from openrouter_embeddings._extras import need

VOCABULARY = Path(__file__).with_name("vocab.txt")
SIZE = 30_522
LONGEST = 256  # tokens that the model reads; it was trained on no more
# Of a text of 63 MB all tokens take 4 GB, and 256 of them have a thousand characters or two. More
# room than that is for wide tables and for long runs that make one token.
MOST_CHARACTERS = 65_536


@cache
def tokenizer() -> Any:
    """Text to token numbers, cut after `LONGEST`; safe to share among threads."""
    tokenizers = need("tokenizers", "local")
    lines = VOCABULARY.read_text("utf-8").splitlines()
    wordpiece = tokenizers.models.WordPiece(
        {word: number for number, word in enumerate(lines)},
        unk_token="[UNK]",  # noqa: S106 - no secret
    )
    made = tokenizers.Tokenizer(wordpiece)
    made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    made.enable_truncation(LONGEST)
    return made


def encode(texts: list[str]) -> list[list[int]]:
    """Token numbers of each text, [CLS] and [SEP] included: the first 256.

    What follows a text's first 65,536 characters is not read.
    """
    # a batch is no faster, and holds the tokens beyond the first 256 of all its texts at once
    return [tokenizer().encode(text[:MOST_CHARACTERS]).ids for text in texts]
