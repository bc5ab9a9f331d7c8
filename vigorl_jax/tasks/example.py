"""The Example record: one question about one or more images, with its reference answer.

Readers in `datasets` make Examples; everything downstream (episodes, rewards, evaluation) only reads them.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping

from immutabledict import immutabledict

TASKS = ("spatial", "visual_search", "web_grounding", "web_action", "glyph_search")

Box = tuple[float, float, float, float]
MetadataValue = str | int | float | bool


@dataclasses.dataclass(frozen=True)
class Example:
    """One dataset record.

    Two examples are equal when all fields are equal. The hash covers everything except the images, the boxes
    and the metadata, so that hashing stays cheap for large images. Sequences given as lists are stored as
    tuples.

    Attributes:
      id: Name of the record, unique within its dataset.
      task: One of `TASKS`.
      question: The question as the user asks it, without image placeholders, and without the options when
        these are listed in `choices`.
      answer: The reference answer as text: an option, a word, a box `(x0, y0, x1, y1)`, or a browser action.
      images: Encoded image files (PNG, JPEG, ...) as stored; `processing.decode` turns them into pixels when
        needed.
      choices: Options in the order in which they are asked, letter A first; empty for open questions, and
        when the question text holds the options itself.
      boxes: Ground-truth boxes (x0, y0, x1, y1), half-open, in original pixels of `images[0]`.
      metadata: Further facts about the record (category, source, ...); immutable and picklable.

    Raises:
      TypeError: a field has the wrong type.
      ValueError: a field is empty, not finite, an unknown task, or a box without area.
    """

    id: str
    task: str
    question: str
    answer: str
    images: tuple[bytes, ...] = dataclasses.field(hash=False, repr=False)
    choices: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = dataclasses.field(default=(), hash=False)
    metadata: Mapping[str, MetadataValue] = dataclasses.field(default_factory=immutabledict, hash=False)

    def __post_init__(self) -> None:
        """Checks every field and stores sequences as tuples and the metadata as an immutable mapping."""
        for name in ("id", "task", "question", "answer"):
            _check_text(name, getattr(self, name))
        if self.task not in TASKS:
            raise ValueError(
                f"Example {self.id!r}: unknown task {self.task!r}; choose one of {', '.join(TASKS)}."
            )
        object.__setattr__(self, "images", _images(self.id, self.images))
        object.__setattr__(self, "choices", _choices(self.id, self.choices))
        object.__setattr__(self, "boxes", tuple(_box(self.id, box) for box in self.boxes))
        object.__setattr__(self, "metadata", _metadata(self.id, self.metadata))


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"Example.{name} must be a string, got {type(value).__name__}: {value!r}.")
    if not value.strip():
        raise ValueError(f"Example.{name} must not be empty.")


def _images(example_id: str, images: Iterable[bytes]) -> tuple[bytes, ...]:
    if isinstance(images, str | bytes):
        kind = type(images).__name__
        raise TypeError(f"Example {example_id!r}: images must be a tuple of encoded files, got one {kind}.")
    images = tuple(images)
    if not images:
        raise ValueError(f"Example {example_id!r}: at least one image is needed.")
    for index, image in enumerate(images):
        if not isinstance(image, bytes):
            raise TypeError(
                f"Example {example_id!r}: images[{index}] must be the bytes of an image file, got "
                f"{type(image).__name__}; read the file without decoding it."
            )
        if not image:
            raise ValueError(f"Example {example_id!r}: images[{index}] is empty (0 bytes).")
    return images


def _choices(example_id: str, choices: Iterable[str]) -> tuple[str, ...]:
    if isinstance(choices, str):
        raise TypeError(
            f"Example {example_id!r}: choices must be a tuple of strings, got the string {choices!r}."
        )
    choices = tuple(choices)
    for index, choice in enumerate(choices):
        if not isinstance(choice, str) or not choice.strip():
            raise TypeError(
                f"Example {example_id!r}: choices[{index}] must be non-empty text, got {choice!r}."
            )
    return choices


def _box(example_id: str, box: Iterable[float]) -> Box:
    try:
        x0, y0, x1, y1 = (float(value) for value in box)
    except (TypeError, ValueError):
        raise ValueError(
            f"Example {example_id!r}: a box is four numbers (x0, y0, x1, y1), got {box!r}."
        ) from None
    if not all(math.isfinite(value) for value in (x0, y0, x1, y1)) or x0 >= x1 or y0 >= y1:
        raise ValueError(
            f"Example {example_id!r}: box {(x0, y0, x1, y1)} must be finite with x0 < x1 and y0 < y1; "
            "convert (x, y, width, height) to corners first."
        )
    return x0, y0, x1, y1


def _metadata(example_id: str, metadata: Mapping[str, MetadataValue]) -> Mapping[str, MetadataValue]:
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise TypeError(f"Example {example_id!r}: metadata keys must be strings, got {key!r}.")
        if not isinstance(value, str | int | float | bool):
            kind = type(value).__name__
            raise TypeError(
                f"Example {example_id!r}: metadata[{key!r}] must be text, a number or a bool, got {kind}."
            )
    return immutabledict(metadata)
