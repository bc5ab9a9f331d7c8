"""Small, valid data sets of every layout with generated images, for tests and for people without the data."""

import dataclasses
import io
import json
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from immutabledict import immutabledict

from vigorl_jax.datasets.dataset import Dataset, Form
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.tasks import glyph_search
from vigorl_jax.tasks.example import TASKS, Example
from vigorl_jax.tasks.glyph_levels import LEVEL_1

_COLOURS = ("red", "green", "blue", "yellow")
# Sides are powers of two, so that shares of width and height give the same pixels back exactly.
_WIDTH, _HEIGHT = 128, 64


@dataclasses.dataclass(frozen=True)
class _Seed:
    """What one sample record is made from: its task, number, file and random numbers."""

    task: str
    index: int
    file: str
    rng: np.random.Generator

    @property
    def row_id(self) -> str:
        """The id that a layout without ids gives to this row."""
        name = posixpath.basename(self.file)
        return f"{name}:{self.index + 1}" if name.endswith(".jsonl") else f"{name}[{self.index}]"

    def image(self, kind: str = "PNG") -> bytes:
        """A noisy picture with one plain square, as an encoded file."""
        from PIL import Image

        pixels = self.rng.integers(0, 256, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
        pixels[16:32, 32:48] = self.rng.integers(0, 256, 3, dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind)
        return stream.getvalue()

    def box(self) -> tuple[float, float, float, float]:
        """A box with area inside the picture, in whole pixels."""
        x0, y0 = int(self.rng.integers(0, 64)), int(self.rng.integers(0, 32))
        return (
            float(x0),
            float(y0),
            float(x0 + 1 + self.rng.integers(60)),
            float(y0 + 1 + self.rng.integers(30)),
        )


def _example(seed: _Seed, **more) -> Example:
    given = {
        "id": seed.row_id,
        "task": seed.task,
        "question": f"What is in picture {seed.index}?",
        "answer": "a square",
    }
    return Example(**{**given, "images": (seed.image(),), **more})


def _choice(seed: _Seed, right: int | None = None, **more) -> Example:
    right = int(seed.rng.integers(4)) if right is None else right
    facts = {"answer_index": right, **more.pop("metadata", {})}
    question = f"Which colour has square {seed.index}?"
    return _example(seed, question=question, answer=_COLOURS[right], choices=_COLOURS, metadata=facts, **more)


def _open(seed: _Seed) -> Example:
    return _example(seed, images=(seed.image("JPEG"),))


def _plain_choice(seed: _Seed) -> Example:
    return _choice(seed, metadata={"category": "relations"} if "SAT" in seed.file else {})


def _box(seed: _Seed) -> Example:
    box = seed.box()
    return _example(seed, question="Point at the square.", answer=str(tuple(map(int, box))), boxes=(box,))


def _action(seed: _Seed) -> Example:
    return _example(seed, question="Task: open the cart. What next?", answer=f"click [{seed.index}]")


def _dialogue(seed: _Seed) -> Example:
    messages = [
        {"content": "Point at what you look at.", "role": "system"},
        {"content": f"<image>What is in picture {seed.index}?", "role": "user"},
        {"content": "<think> (40, 24) </think><answer>a square</answer>", "role": "assistant"},
    ]
    return _example(seed, metadata={"messages": json.dumps(messages, ensure_ascii=False)})


def _episode(seed: _Seed) -> Example:
    name = f"sample{seed.index:04d}"
    image = seed.image()
    segments = [
        {
            "images": [f"{name}_{seed.index}_0.png"],
            "kind": "given",
            "text": f"What is in picture {seed.index}?",
        },
        {"images": [], "kind": "sampled", "text": "<answer>a square</answer>"},
    ]
    facts = {"segments": json.dumps(segments, ensure_ascii=False), "status": "answered"}
    return _choice(seed, id=f"{name}/{seed.index}", images=(image,), boxes=(seed.box(),), metadata=facts)


def _blink(seed: _Seed) -> Example:
    images = tuple(seed.image() for _ in range(1 + seed.index % 4))
    category = ("Counting", "Jigsaw")[seed.index % 2]
    return _choice(seed, id=f"val_{category}_{seed.index}", images=images, metadata={"category": category})


def _region(seed: _Seed) -> Example:
    category, answer = (
        ("configuration", "yes"),
        ("compatibility", "no"),
        ("context", "[(0.1, 0.2), (0.5, 0.9)]"),
    )[seed.index % 3]
    return _example(seed, id=f"{category}_{seed.row_id}", answer=answer, metadata={"category": category})


def _vstar(seed: _Seed) -> Example:
    category = "direct_attributes" if seed.index < 2 else "relative_position"
    if seed.file.endswith(".jsonl"):
        return _choice(seed, id=str(seed.index), metadata={"category": category})
    facts = {"category": category, "target_object": json.dumps(["square"])}
    return _choice(seed, right=0, id=f"{category}/{seed.index:04d}", boxes=(seed.box(),), metadata=facts)


def _hrbench(seed: _Seed) -> Example:
    facts = {"category": ("single", "cross")[seed.index // 4 % 2], "cycle_category": str(seed.index % 4)}
    return _choice(seed, id=f"{seed.index // 4}_{seed.index % 4}", metadata=facts)


def _mmmu(seed: _Seed) -> Example:
    facts = {"question_type": "multiple-choice", "subfield": "Drawing"}
    return _choice(
        seed, id=f"validation_Art_{seed.index}", images=(seed.image(), seed.image()), metadata=facts
    )


def _pointed(seed: _Seed, **more) -> Example:
    box = seed.box()
    return _example(seed, question="close the window", answer=str(tuple(map(int, box))), boxes=(box,), **more)


def _screen(seed: _Seed) -> Example:
    facts = {"category": "mobile/icon", "data_type": "icon", "data_source": "android"}
    return _pointed(seed, metadata=facts)


def _pro(seed: _Seed) -> Example:
    facts = {"ui_type": "text", "group": "CAD", "platform": "linux", "application": "drawing"}
    return _pointed(seed, id=f"drawing_{seed.index}", metadata={"category": "CAD/text", **facts})


def _atlas(seed: _Seed) -> Example:
    return _pointed(
        seed, id=f"{seed.row_id}.0", metadata={"category": "sample_domain", "data_type": "button"}
    )


def _glyph(seed: _Seed) -> Example:
    return glyph_search.example(LEVEL_1, int(seed.rng.integers(1 << 31)), seed.index)


_MAKERS: Mapping[str, Callable[[_Seed], Example]] = immutabledict(
    choice=_plain_choice,
    open=_open,
    box=_box,
    action=_action,
    dialogue=_dialogue,
    episode=_episode,
    blink=_blink,
    region=_region,
    vstar=_vstar,
    hrbench=_hrbench,
    mmmu=_mmmu,
    screen=_screen,
    pro=_pro,
    atlas=_atlas,
    glyph=_glyph,
)


def _kind(dataset: Dataset, form: Form) -> str:
    """The kind of records; copies of benchmarks in the ViGoRL release know no options and no categories."""
    if form.has_categories:
        return dataset.sample
    return "box" if dataset.task == "web_grounding" else "open"


def make_sample(dataset: Dataset, folder: Path, count: int, seed: int, task: str = "", form: int = 0) -> dict:
    """Writes `count` records a split in one of a data set's layouts, and returns what was written.

    Args:
      dataset: A row of the catalog.
      folder: Where to write; must not exist or be empty.
      count: Records a split.
      seed: Of the generated pictures and answers.
      task: Task of the examples for data sets that do not fix it.
      form: Which of the data set's layouts.

    Returns:
      Split -> list of the Examples that reading the prepared data set must give back.

    Raises:
      SourceError: the folder is not empty, or there is no such layout or task.
    """
    if not 0 <= form < len(dataset.forms):
        raise SourceError(f"{dataset.name} has layouts 0 to {len(dataset.forms) - 1}, got {form}.")
    task = dataset.task or task
    if task not in TASKS:
        raise SourceError(f"{dataset.name} needs --task, one of {', '.join(TASKS)}; got {task!r}.")
    if folder.exists() and any(folder.iterdir()):
        raise SourceError(f"{folder} is not empty: give --make_sample a new folder.")
    chosen: Form = dataset.forms[form]
    written = {}
    for number, (split, pattern) in enumerate(chosen.files.items()):
        file = pattern.split("|")[0].replace("*", "sample")
        rng = np.random.default_rng([seed, number])
        maker = _MAKERS[_kind(dataset, chosen)]
        seeds = (_Seed(task, index, file, rng) for index in range(count))
        examples = [maker(one) for one in seeds]
        chosen.layout.write(examples, folder, file)
        written[split] = examples
    return written
