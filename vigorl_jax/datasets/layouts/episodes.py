"""The layout of our own episodes: one `episode.json` an episode, its images in files beside it."""

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from vigorl_jax.datasets import fields
from vigorl_jax.datasets.layouts.layout import (
    Draft,
    Layout,
    Place,
    metadata_of,
    save_images,
    write_json,
)
from vigorl_jax.datasets.refusals import RecordError
from vigorl_jax.datasets.rows import Row, Rows, object_row
from vigorl_jax.datasets.sources import Limits, Tree
from vigorl_jax.tasks.example import Example

_FACTS = ("status", "segments", "frames", "reward_parts", "number")


def episode_rows(tree: Tree, name: str, limits: Limits) -> Rows:
    """The one record of an episode file."""
    yield name, object_row(tree, name)


def parse_episode(row: Row, place: Place) -> Draft:
    """`{example: {id, question, answer, ...}, segments: [{kind, text, images}, ...], status, ...}`.

    The images are those of all segments in order, the first ones being the originals. Segments, frames and
    reward parts are kept as JSON text in the metadata. Ids begin with the episode's folder, because one
    example has many episodes.
    """
    example, segments = fields.required(row, "example"), fields.items(row, "segments")
    if not isinstance(example, Mapping) or not all(isinstance(segment, Mapping) for segment in segments):
        raise RecordError("wrong_type", "'example' must be an object and 'segments' a list of objects.")
    folder = posixpath.basename(posixpath.dirname(place.file))
    name = fields.identifier(example, "id")
    facts = example.get("metadata") or {}
    if not isinstance(facts, Mapping):
        raise RecordError("wrong_type", "'metadata' must be an object.")
    return Draft(
        id=f"{folder}/{name}" if folder else name,
        question=fields.text(example, "question"),
        answer=fields.text(example, "answer"),
        images=tuple(place.image(file) for segment in segments for file in segment.get("images") or ()),
        choices=fields.texts(example, "choices") if example.get("choices") else (),
        boxes=tuple(fields.numbers(box, "boxes", 4) for box in example.get("boxes") or ()),
        metadata={**fields.scalars(facts, tuple(facts)), **fields.scalars(row, _FACTS)},
    )


def write_episodes(examples: Sequence[Example], root: Path, file: str) -> None:
    """One folder an episode."""
    for example in examples:
        folder, name = example.id.rsplit("/", 1)
        save_images(example, root / folder, ".")
        known = {
            "id": name,
            "question": example.question,
            "answer": example.answer,
            "task": example.task,
            "choices": list(example.choices),
            "boxes": [list(box) for box in example.boxes],
            "metadata": {key: value for key, value in example.metadata.items() if key not in _FACTS},
        }
        write_json({"example": known, **metadata_of(example, _FACTS)}, root / folder / file)


EPISODES = Layout("episodes (JSON files)", parse_episode, write_episodes, rows=episode_rows)
