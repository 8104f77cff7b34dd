"""WordPiece in lower case, the tokenizer of all-MiniLM-L6-v2; also counts tokens for `usage`."""

from functools import cache
from pathlib import Path
from typing import Any

from openrouter_embeddings._extras import need

VOCABULARY = Path(__file__).with_name("vocab.txt")
SIZE = 30_522
LONGEST = 256  # tokens that the model reads; it was trained with no more
# All tokens of a text of 63 MB take 4 GB of memory, but the first 256 take a thousand characters or
# two. The limit is higher for texts with much white space or with long runs that make one token.
MOST_CHARACTERS = 65_536


@cache
def tokenizer() -> Any:
    """A tokenizer that truncates after `LONGEST` tokens; safe to share among threads."""
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
    """The first 256 token numbers of each text, [CLS] and [SEP] included.

    Reads only the first 65,536 characters of a text.
    """
    # `encode_batch` is no faster, and keeps all tokens of all texts in memory at once
    return [tokenizer().encode(text[:MOST_CHARACTERS]).ids for text in texts]
