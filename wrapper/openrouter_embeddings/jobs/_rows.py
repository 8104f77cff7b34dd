"""The input of each row, and the digest that equal inputs share."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from openrouter_embeddings._extras import need
from openrouter_embeddings.errors import InputError
from openrouter_embeddings.inputs import Content, Image
from openrouter_embeddings.media import load

from ._arrow import InvalidText, check_has_column, is_utf8, python_values
from ._spec import InputSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

    import pyarrow as pa

    from openrouter_embeddings.inputs import EmbedInput

_DOUBLED = str.maketrans({"{": "{{", "}": "}}"})
_URLS = ("http://", "https://", "data:")


class Row(NamedTuple):
    """The input of one row.

    Attributes:
        digest: two rows have the same digest only if their inputs are equal.
        value: the input; None if the row cannot be embedded.
        reason: why it cannot be embedded.
        size: bytes of text and image.
    """

    digest: bytes
    value: EmbedInput | None
    reason: str = ""
    size: int = 0


@dataclass(slots=True)
class Inputs:
    """The inputs of some rows. Iterate over it to get each as a `Row`.

    In lists, because the garbage collector would visit an object for each row again and again.

    Attributes:
        digests: as in `Row`.
        values: as in `Row`.
        sizes: as in `Row`.
        reasons: why rows cannot be embedded, by position.
    """

    digests: list[bytes] = field(default_factory=list)
    values: list[EmbedInput | None] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.digests)

    def __iter__(self) -> Iterator[Row]:
        for at, row in enumerate(zip(self.digests, self.values, self.sizes, strict=True)):
            digest, value, size = row
            yield Row(digest, value, self.reasons.get(at, ""), size)

    def add(self, row: Row) -> None:
        """Add a row."""
        if row.value is None:
            self.reasons[len(self)] = row.reason
        self.digests.append(row.digest)
        self.values.append(row.value)
        self.sizes.append(row.size)

    def add_text(self, text: str) -> None:
        """Add a row with a text that is not empty."""
        encoded = text.encode()
        size = len(encoded)
        state = _TEXT.copy()
        state.update(size.to_bytes(8, "little") + encoded)
        self.digests.append(state.digest())
        self.values.append(text)
        self.sizes.append(size)

    def append_some(self, others: Inputs, positions: Iterable[int]) -> None:
        """Add those of other rows that have an input, at these positions."""
        for at in positions:
            self.digests.append(others.digests[at])
            self.values.append(others.values[at])
            self.sizes.append(others.sizes[at])

    def pop_first(self, count: int) -> Inputs:
        """Remove so many rows, all with an input, from the beginning, and return them."""
        first = Inputs(self.digests[:count], self.values[:count], self.sizes[:count])
        del self.digests[:count], self.values[:count], self.sizes[:count]
        return first


class Reader:
    """Reads the input of every row of a source.

    Args:
        schema: of the source; if it has no columns, the source has no rows, and any name is valid.
        folder: relative paths of images start here; None if the files are in several folders.
        spec: what to embed of each row.

    Attributes:
        spec: the same, with the name of the column that was chosen by default.
        columns: the columns that `read` needs in a batch.

    Raises:
        InputError: a column does not exist, or has no text.
    """

    def __init__(self, schema: pa.Schema, folder: Path | None, spec: InputSpec) -> None:
        if spec.column and spec.template:
            raise InputError("the text comes from a column or from a template; pass only one")
        self._arrow = need("pyarrow", "jobs")
        self._schema = schema
        self._folder = folder
        if spec.images:
            check_has_column(schema, spec.images)
        if not (spec.column or spec.template or spec.images):
            spec = InputSpec(column=self._only_text())
        self.spec = spec
        # pairs of a text and the column after it; the last column is None
        self._parts: list[tuple[str, str | None]] = []
        if spec.template:
            self._parts = self._parsed(spec.template)
        elif spec.column:
            self._parts = [("", self._text_column(spec.column))]
        names = [*(name for _, name in self._parts), spec.images]
        self.columns = [*dict.fromkeys(name for name in names if name is not None)]

    @property
    def rows(self) -> int:
        """How many rows to read at a time; fewer with images, which are large."""
        return 64 if self.spec.images else 8192

    def _only_text(self) -> str:
        kinds = self._arrow.types
        texts = [field.name for field in self._schema if _is_text(kinds, field.type)]
        chosen = "text" if "text" in texts else texts[0] if len(texts) == 1 else None
        if chosen is None and len(self._schema) == 1:
            (field,) = self._schema
            held = "all its values are null" if kinds.is_null(field.type) else f"but {field.type}"
            raise InputError(
                f"the only column, {field.name!r}, has no text ({held}); to embed its values as "
                "text, name it with column (--column)"
            )
        if chosen is None and self._schema.names:
            names = ", ".join(self._schema.names)
            raise InputError(
                "which column has the text? Name it with column (--column); the columns are "
                f"{names}"
            )
        return chosen or "text"

    def _text_column(self, name: str) -> str:
        """The name of a column. Raises InputError if its values cannot be converted to text."""
        check_has_column(self._schema, name)
        if not self._schema.names:
            return name
        kinds = self._arrow.types
        kind = _plain_type(kinds, self._schema.field(name).type)
        simple = (kinds.is_primitive, kinds.is_decimal, kinds.is_null)
        if kinds.is_temporal(kind):
            self._check_zone(name, kind)
        if not (_is_text(kinds, kind) or any(fits(kind) for fits in simple)):
            raise InputError(
                f"the column {name!r} holds {kind}; a column of texts, numbers or dates is needed"
            )
        return name

    def _check_zone(self, name: str, kind: Any) -> None:
        """Raise InputError if dates cannot be converted to text, as in an unknown time zone."""
        try:
            self._arrow.array([0], kind).cast(self._arrow.string())
        except (self._arrow.ArrowException, TypeError) as error:
            raise InputError(
                f"the column {name!r} holds {kind}, which cannot be converted to text: {error}"
            ) from None

    def _parsed(self, template: str) -> list[tuple[str, str | None]]:
        """The parts of a template. A doubled brace is a brace, also in a name; names win."""
        if not is_utf8(template):
            raise InputError(f"the template {template!r} is not UTF-8; remove the invalid bytes")
        longest = sorted(self._schema.names, key=len, reverse=True)
        names = "|".join(re.escape(name.translate(_DOUBLED)) for name in longest) or "[^{}]*"
        parts: list[tuple[str, str | None]] = []
        before, end = "", 0
        for found in re.finditer(rf"\{{({names})\}}|(\{{\{{|\}}\}})|[{{}}]", template):
            before += template[end : found.start()]
            end = found.end()
            if found[1] is not None:
                name = found[1].replace("{{", "{").replace("}}", "}")
                parts.append((before, self._text_column(name)))
                before = ""
            elif found[2]:
                before += found[2][0]
            else:
                self._refuse(template, found.start())
        parts.append((before + template[end:], None))
        if not self.spec.images and all(name is None for _, name in parts):
            raise InputError(
                f"the template {template!r} names no column; write it like '{{title}}: {{body}}'"
            )
        return parts

    def _refuse(self, template: str, start: int) -> NoReturn:
        if name := re.match(r"\{([^{}]*)\}", template[start:]):
            check_has_column(self._schema, name[1])
        raise InputError(
            f"the template {template!r} has a single brace at character {start}; double it, or "
            "enclose the name of a column in a pair of braces"
        )

    def read(self, batch: Any) -> Inputs:
        """The input of every row of a batch."""
        found = Inputs()
        if self.spec.column and not self.spec.images:
            for value in self._values(batch.column(self.spec.column)):
                if value and type(value) is str:
                    found.add_text(value)
                else:
                    found.add(_row_of(value))
        else:
            for row in self._combined(batch):
                found.add(row)
        return found

    def _combined(self, batch: Any) -> Iterator[Row]:
        """The inputs that consist of several columns."""
        names = [name for _, name in self._parts if name is not None]
        columns = [
            (before, None if name is None else self._values(batch.column(name)))
            for before, name in self._parts
        ]
        pictures = batch.column(self.spec.images).to_pylist() if self.spec.images else None
        for number in range(batch.num_rows):
            found = [(before, values[number] if values else "") for before, values in columns]
            text = "".join(before + _as_text(value) for before, value in found)
            if names and all(value is None or value == "" for _, value in found):
                text = ""  # the template's own text alone is not worth a vector
            if any(isinstance(value, InvalidText) for _, value in found):
                yield _invalid_row(text)
            elif pictures is None:
                is_null = bool(names) and all(value is None for _, value in found)
                yield _row(text, "null" if is_null else "empty")
            else:
                yield self._with_image(text, pictures[number])

    def _values(self, column: Any) -> list[Any]:
        if self._arrow.types.is_temporal(column.type):  # as Arrow writes it, in every unit
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
            raise ValueError("the image is null")
        if isinstance(picture, str) and not picture.lower().startswith(_URLS):
            if self._folder is None and not Path(picture).is_absolute():
                raise ValueError(
                    "the image has a relative path, but the files of the source are in several "
                    "directories; use absolute paths"
                )
            return (self._folder or Path()) / Path(picture)
        return picture


def _plain_type(kinds: Any, kind: Any) -> Any:
    """The type of the values in a dictionary."""
    return kind.value_type if kinds.is_dictionary(kind) else kind


def _is_text(kinds: Any, kind: Any) -> bool:
    kind = _plain_type(kinds, kind)
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _row_of(value: Any) -> Row:
    """The row of a value in a column."""
    text = _as_text(value)
    if isinstance(value, InvalidText):
        return _invalid_row(text)
    return _row(text, "null" if value is None else "empty")


def _invalid_row(text: str) -> Row:
    return Row(_digest(b"no text", text.encode()), None, "the text is not UTF-8")


def _row(text: str, nothing: str = "empty") -> Row:
    encoded = text.encode()
    digest = _digest(b"text", encoded)
    if not text:
        return Row(digest, None, f"the text is {nothing}")
    return Row(digest, text, "", len(encoded))


def _with_length(part: bytes) -> bytes:
    return len(part).to_bytes(8, "little") + part


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(map(_with_length, parts)), digest_size=16).digest()


# the state of `_digest` after the kind of a text, which takes less time than a new one for each row
_TEXT = hashlib.blake2b(_with_length(b"text"), digest_size=16)

# the inputs of empty rows, in contrast to rows that cannot be read
EMPTY_INPUTS = frozenset([_row("").digest, _digest(b"unreadable", repr(None).encode())])
