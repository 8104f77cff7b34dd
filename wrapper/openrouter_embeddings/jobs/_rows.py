"""What of a row is embedded, and the digest that tells equal inputs."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.inputs import Content, Image
from openrouter_embeddings.media import load

from ._arrow import NoText, is_utf8, known, python_values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    import pyarrow as pa

    from openrouter_embeddings.inputs import EmbedInput

_DOUBLED = str.maketrans({"{": "{{", "}": "}}"})
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
        schema: of the source; without columns, it has no rows, and a column of any name is taken.
        folder: what relative paths of images are relative to; None where that is not known.
        column: with the text; default: the only one of text, or the one named "text".
        template: in place of a column, a text with names of columns in braces.
        images: the column with images: bytes, paths, or URLs.

    Attributes:
        columns: the names of the columns that `read` wants in a batch.

    Raises:
        InputError: there are no such columns, or they hold no text.
    """

    def __init__(
        self,
        schema: pa.Schema,
        folder: Path | None,
        column: str | None,
        template: str | None,
        images: str | None,
    ) -> None:
        if column and template:
            raise InputError("a column or a template makes the text, not both")
        self._arrow = need("pyarrow", "jobs")
        self._schema = schema
        self._folder = folder
        self.images = known(schema, images) if images else None
        self.template = template
        self.column = column
        if not (column or template or self.images):
            self.column = self._only_text()
        # what stands before a column, and its name, which is None at the end
        self._parts: list[tuple[str, str | None]] = []
        if template:
            self._parts = self._parsed(template)
        elif self.column:
            self._parts = [("", self._checked(self.column))]
        names = [*(name for _, name in self._parts), self.images]
        self.columns = [*dict.fromkeys(name for name in names if name is not None)]

    @property
    def rows(self) -> int:
        """How many rows are read at once: images are large."""
        return 64 if self.images else 8192

    def _only_text(self) -> str:
        kinds = self._arrow.types
        texts = [field.name for field in self._schema if _is_text(kinds, field.type)]
        chosen = "text" if "text" in texts else texts[0] if len(texts) == 1 else None
        if chosen is None and len(self._schema) == 1:
            (field,) = self._schema
            held = "all its values are null" if kinds.is_null(field.type) else f"but {field.type}"
            raise InputError(
                f"the only column, {field.name!r}, has no text ({held}); to embed its values as "
                "they are written, name it with column (--column)"
            )
        if chosen is None and self._schema.names:
            names = ", ".join(self._schema.names)
            raise InputError(
                f"which column has the text? Name it with column (--column); there are {names}"
            )
        return chosen or "text"

    def _checked(self, name: str) -> str:
        """A column whose values can be written as text."""
        if known(self._schema, name) not in self._schema.names:
            return name
        kinds = self._arrow.types
        kind = _plain_type(kinds, self._schema.field(name).type)
        simple = (kinds.is_primitive, kinds.is_decimal, kinds.is_null)
        if kinds.is_temporal(kind):
            self._check_zone(name, kind)
        if not (_is_text(kinds, kind) or any(fits(kind) for fits in simple)):
            raise InputError(f"the column {name!r} holds {kind}; text or numbers are right")
        return name

    def _check_zone(self, name: str, kind: Any) -> None:
        """That a date can be written, for which its zone has to be known here."""
        try:
            self._arrow.array([0], kind).cast(self._arrow.string())
        except (self._arrow.ArrowException, TypeError) as error:
            raise InputError(
                f"the column {name!r} holds {kind}, which cannot be written as text: {error}"
            ) from None

    def _parsed(self, template: str) -> list[tuple[str, str | None]]:
        """Doubled braces stand for one, also within a name; where it can be a name, it is one."""
        if not is_utf8(template):
            raise InputError(f"the template {template!r} is no UTF-8")
        longest = sorted(self._schema.names, key=len, reverse=True)
        names = "|".join(re.escape(name.translate(_DOUBLED)) for name in longest) or "[^{}]*"
        parts: list[tuple[str, str | None]] = []
        before, end = "", 0
        for found in re.finditer(rf"\{{({names})\}}|(\{{\{{|\}}\}})|[{{}}]", template):
            before += template[end : found.start()]
            end = found.end()
            if found[1] is not None:
                name = found[1].replace("{{", "{").replace("}}", "}")
                parts.append((before, self._checked(name)))
                before = ""
            elif found[2]:
                before += found[2][0]
            else:
                self._refuse(template, found.start())
        parts.append((before + template[end:], None))
        if not self.images and all(name is None for _, name in parts):
            raise InputError(
                f"the template {template!r} names no column; '{{title}}: {{body}}', say, is right"
            )
        return parts

    def _refuse(self, template: str, start: int) -> NoReturn:
        if name := re.match(r"\{([^{}]*)\}", template[start:]):
            known(self._schema, name[1])
        raise InputError(
            f"the template {template!r} has a single brace at character {start}; double it, unless "
            "a pair encloses the name of a column"
        )

    def read(self, batch: Any) -> Iterator[Row]:
        """The input of every row."""
        names = [name for _, name in self._parts if name is not None]
        columns = [
            (before, None if name is None else self._values(batch.column(name)))
            for before, name in self._parts
        ]
        pictures = batch.column(self.images).to_pylist() if self.images else None
        for number in range(batch.num_rows):
            found = [(before, values[number] if values else "") for before, values in columns]
            text = "".join(before + _plain(value) for before, value in found)
            if names and all(value is None or value == "" for _, value in found):
                text = ""  # what stands between empty columns says nothing
            if any(isinstance(value, NoText) for _, value in found):
                yield Row(_digest(b"no text", text.encode()), None, "the text is no UTF-8")
            elif pictures is None:
                is_null = bool(names) and all(value is None for _, value in found)
                yield _row(text, "null" if is_null else "empty")
            else:
                yield self._with_image(text, pictures[number])

    def _values(self, column: Any) -> list[Any]:
        if self._arrow.types.is_temporal(column.type):  # as it is written, whatever its unit is
            column = column.cast(self._arrow.string())
        return python_values(column)

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
            if self._folder is None and not Path(picture).is_absolute():
                raise ValueError(
                    "a relative path, and the files of the source lie in several directories; "
                    "absolute paths are right"
                )
            return (self._folder or Path()) / Path(picture)
        return picture


def _plain_type(kinds: Any, kind: Any) -> Any:
    """That of the values, where they are categories."""
    return kind.value_type if kinds.is_dictionary(kind) else kind


def _is_text(kinds: Any, kind: Any) -> bool:
    kind = _plain_type(kinds, kind)
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _row(text: str, nothing: str = "empty") -> Row:
    encoded = text.encode()
    digest = _digest(b"text", encoded)
    return (
        Row(digest, text, "", len(encoded)) if text else Row(digest, None, f"the text is {nothing}")
    )


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


# of rows that were left empty, in contrast to those that cannot be read
NOTHING = frozenset([_row("").digest, _digest(b"unreadable", repr(None).encode())])
