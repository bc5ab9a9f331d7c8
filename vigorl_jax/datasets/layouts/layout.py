"""What a layout is: a way to find rows, a way to read one row, and a way to write examples as rows."""

import dataclasses
import json
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vigorl_jax.datasets.paths import parents, safe_name
from vigorl_jax.datasets.refusals import RecordError
from vigorl_jax.datasets.rows import Row, Rows, read_rows
from vigorl_jax.datasets.sources import Limits, Tree
from vigorl_jax.tasks.example import Example

PLACEHOLDER = "<image>"


@dataclasses.dataclass(frozen=True)
class Keys:
    """Names of the columns of layouts whose columns users may name freely (EasyR1 style)."""

    question: str = "problem"
    answer: str = "answer"
    images: str = "images"


@dataclasses.dataclass(frozen=True)
class Draft:
    """A record as its file states it: types are right, images and boxes are not checked yet.

    Attributes:
      id: Name of the record, unique in its split.
      question: Text without image placeholders.
      answer: Reference answer; None when it is the box, which is known only once the image is.
      images: Encoded image files.
      choices: Options, first one first.
      boxes: Four numbers each, in the convention of the data set.
      metadata: Further facts.
    """

    id: str
    question: str
    answer: str | None
    images: tuple[bytes, ...]
    choices: tuple[str, ...] = ()
    boxes: tuple[tuple[float, ...], ...] = ()
    metadata: Mapping[str, str | int | float | bool] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a row stands: everything that a parser may ask about besides the row itself."""

    tree: Tree
    file: str
    location: str
    task: str
    keys: Keys

    def row_id(self) -> str:
        """An id for a row that has none: the file's name and the row's number in it."""
        return posixpath.basename(self.location)

    def image(self, value: Any) -> bytes:
        """Encoded bytes of an image given as bytes, as a `{bytes, path}` mapping, or as a path in the source.

        Raises:
          RecordError: `image_missing`, `image_is_url`, `path_leaves_root`, or `wrong_type`.
        """
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise RecordError("wrong_type", f"an image is bytes or a path, got {type(value).__name__}.")
        return self.tree.read(self._resolve(safe_name(value)))

    def images(self, values: Any) -> tuple[bytes, ...]:
        """All images of a list, or the one image of a single value."""
        return tuple(self.image(value) for value in (values if isinstance(values, list) else [values]))

    def _resolve(self, name: str) -> str:
        # Released paths count from the folder above all archives; archives and users begin at either of the two.
        first, _, rest = name.partition("/")
        options = [posixpath.join(folder, name) for folder in parents(self.file)]
        if rest and first in (self.tree.label, *self.file.split("/")[:-1]):
            options.append(rest)
        for option in options:
            if self.tree.has(option):
                return option
        raise RecordError(
            "image_missing", f"the source has no file {name!r}, seen from {self.file!r} and above."
        )


@dataclasses.dataclass(frozen=True)
class Layout:
    """One file layout.

    Attributes:
      name: Name for messages.
      parse: Turns a row into a draft; raises `RecordError`.
      write: Writes examples as the annotation file `file` under `root`, images beside it or inside it.
      rows: Yields the rows of an annotation file.
    """

    name: str
    parse: Callable[[Row, Place], Draft]
    write: Callable[[Sequence[Example], Path, str], None]
    rows: Callable[[Tree, str, Limits], Rows] = read_rows


def without_placeholders(question: str, num_images: int) -> str:
    """The question without `<image>` marks, of which there are none or one an image.

    Raises:
      RecordError: `placeholder_mismatch`, or `empty_text` when nothing else is left.
    """
    marks = question.count(PLACEHOLDER)
    if marks not in (0, num_images):
        raise RecordError("placeholder_mismatch", f"{marks} {PLACEHOLDER} marks for {num_images} images.")
    stripped = question.replace(PLACEHOLDER, "").strip()
    if not stripped:
        raise RecordError("empty_text", "the question has no text besides image marks.")
    return stripped


def choice_draft(place_id: str, question: str, choices: Sequence[str], index: int, images, metadata) -> Draft:
    """A draft whose answer is the text of an option; the option's index goes into the metadata."""
    facts = {**metadata, "answer_index": index}
    return Draft(place_id, question, choices[index], images, choices=tuple(choices), metadata=facts)


def image_ending(data: bytes) -> str:
    """File name ending for encoded image bytes: png or jpg."""
    return "png" if data.startswith(b"\x89PNG") else "jpg"


def save_images(example: Example, root: Path, folder: str) -> list[str]:
    """Writes an example's images under `root/folder` and returns their paths relative to `root`."""
    names = []
    for index, data in enumerate(example.images):
        stem = "".join(char if char.isalnum() else "_" for char in example.id)
        name = posixpath.join(folder, f"{stem}_{index}.{image_ending(data)}")
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        names.append(name)
    return names


def image_cell(data: bytes) -> dict[str, Any]:
    """An image as parquet files hold it: a `{bytes, path}` mapping."""
    return {"bytes": data, "path": None}


def write_jsonl(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Writes one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_json(value: Any, path: Path) -> None:
    """Writes one JSON value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def write_parquet(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows as one parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(record) for record in records]), path)


def choice_index(example: Example) -> int:
    """The index of the right option of a multiple-choice example."""
    return int(example.metadata["answer_index"])


def metadata_of(example: Example, keys: tuple[str, ...]) -> dict[str, Any]:
    """The named facts of an example, JSON text that `fields.scalars` made turned back into values."""
    found = {}
    for key in keys:
        value = example.metadata.get(key)
        if isinstance(value, str) and value[:1] in ("[", "{"):
            value = json.loads(value)
        if value is not None:
            found[key] = value
    return found
