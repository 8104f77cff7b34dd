"""What of a row is embedded, and the digest that tells equal inputs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

from openrouter_embeddings.errors import InputError
from openrouter_embeddings.images import load
from openrouter_embeddings.inputs import Content, Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openrouter_embeddings.inputs import EmbedInput

    from ._sources import Source

_URLS = ("http://", "https://", "data:")


@dataclass(frozen=True, slots=True)
class Row:
    """One row's input.

    Attributes:
        digest: equal for equal inputs only.
        value: what is embedded; None where it cannot be.
        reason: why not.
        size: bytes of text and image.
    """

    digest: bytes
    value: EmbedInput | None
    reason: str = ""
    size: int = 0


class Reader:
    """Takes inputs out of batches of a source.

    Args:
        source: whose columns count.
        column: with the text; default: the only one of text, or the one named "text".
        template: in place of a column, a text with names of columns in braces.
        images: the column with images: bytes, paths, or URLs.

    Raises:
        InputError: there are no such columns.
    """

    def __init__(
        self, source: Source, column: str | None, template: str | None, images: str | None
    ) -> None:
        if column and template:
            raise InputError("a column or a template makes the text, not both")
        self.images = images or source.images
        self._folder = source.folder
        self._names: list[str] = source.schema.names
        self.template = template or self._as_template(source, column)
        try:
            fields = [name for _, name, _, _ in Formatter().parse(self.template)]
        except ValueError as error:
            raise InputError(f"the template {self.template!r} is none: {error}") from None
        self._texts = [self._checked(name) for name in fields if name is not None]
        if self.images:
            self._checked(self.images)

    @property
    def rows(self) -> int:
        """How many rows are read at once: images are large."""
        return 64 if self.images else 8192

    def _as_template(self, source: Source, column: str | None) -> str:
        if column:
            return "{" + self._checked(column) + "}"
        if self.images:
            return ""
        texts = [field.name for field in source.schema if str(field.type).endswith("string")]
        chosen = "text" if "text" in texts else texts[0] if len(texts) == 1 else None
        if chosen is None:
            raise InputError(
                f"which column has the text? column=… names it; there are {', '.join(self._names)}"
            )
        return "{" + chosen + "}"

    def _checked(self, name: str) -> str:
        if name not in self._names:
            raise InputError(f"there is no column {name!r}; there are {', '.join(self._names)}")
        return name

    def read(self, batch: Any) -> Iterator[Row]:
        """The input of every row."""
        columns = {name: batch.column(name).to_pylist() for name in self._texts}
        pictures = batch.column(self.images).to_pylist() if self.images else None
        plain = (
            self._texts[0]
            if len(self._texts) == 1 and self.template == "{" + self._texts[0] + "}"
            else None
        )
        for number in range(batch.num_rows):
            if plain is not None:
                text = _plain(columns[plain][number])
            else:
                values = {name: _plain(column[number]) for name, column in columns.items()}
                text = self.template.format_map(values) if values else self.template
            yield _row(text) if pictures is None else self._with_image(text, pictures[number])

    def _with_image(self, text: str, picture: Any) -> Row:
        try:
            loaded = load(Image(self._source(picture)))
        except (ValueError, OSError) as error:
            digest = _digest(b"unreadable", repr(picture).encode())
            return Row(digest, None, str(error))
        content = loaded.url.encode() or loaded.data
        value = Image(loaded.url or loaded.data)
        digest = _digest(b"image", text.encode(), content)
        return Row(digest, Content(text, value) if text else value, size=len(content) + len(text))

    def _source(self, picture: Any) -> Any:
        if picture is None:
            raise ValueError("there is no image")
        if isinstance(picture, str) and not picture.lower().startswith(_URLS):
            return self._folder / Path(picture)
        return picture


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _row(text: str) -> Row:
    encoded = text.encode()
    digest = _digest(b"text", encoded)
    return Row(digest, text, "", len(encoded)) if text else Row(digest, None, "the text is empty")


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
