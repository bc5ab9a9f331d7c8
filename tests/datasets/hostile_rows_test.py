"""Every parser is total: whatever JSON a row holds, the outcome is an example or a named refusal."""

import hypothesis
import pytest
from hypothesis import strategies
from PIL import Image

from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.checks import check
from vigorl_jax.datasets.layouts.layout import Keys, Place
from vigorl_jax.datasets.refusals import RecordError
from vigorl_jax.datasets.sources import open_source
from vigorl_jax.tasks.example import Example

_LAYOUTS = {form.layout.name: form for row in CATALOG.values() for form in row.forms}
_CELL = {"bytes": None, "path": "p.png"}
_TEXT_KEYS = """id idx sub_task question problem text A B C D category cycle_category index correct_answer
    question_type img_filename instruction data_type group ui_type gt_answer question_id status"""
# A row that every layout takes, apart from answers, which differ between them.
_GOOD = {
    **dict.fromkeys(_TEXT_KEYS.split(), "x"),
    **dict.fromkeys(("image", "img", "image_1", "image_2"), _CELL),
    "answer": "A",
    "label": "A",
    "text": "q\n(A) x\n(B) y",
    "images": [_CELL],
    "image_bytes": [_CELL],
    "choices": ["x", "y"],
    "answers": ["x", "y"],
    "options": "['x', 'y']",
    "bbox": [0, 0, 1, 1],
    "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "(0, 0, 1, 1)"}],
    "messages": [
        {"role": "user", "content": "<image>q"},
        {"role": "assistant", "content": "<answer>a</answer>"},
    ],
    "example": {"id": "e", "question": "q", "answer": "a", "boxes": [[0, 0, 1, 1]], "choices": ["x"]},
    "segments": [{"kind": "given", "text": "q", "images": ["p.png"]}],
}
_TEXTS = strategies.sampled_from(
    ["a.png", "(B)", "(1, 2, 3, 4)", "[1, [2]]", "<image>", "\ud800", "q\nA. x\nB. y"]
)
_SCALARS = (
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | _TEXTS
    | strategies.text() | strategies.binary(max_size=8) | strategies.sampled_from(list(_GOOD.values()))
)  # fmt: skip
_INNER_KEYS = strategies.sampled_from(
    ["value", "role", "content", "id", "question", "answer", "boxes", "images"]
)
_VALUES = strategies.recursive(
    _SCALARS,
    lambda inner: (
        strategies.lists(inner, max_size=4) | strategies.dictionaries(_INNER_KEYS, inner, max_size=4)
    ),
    max_leaves=8,
)
_CHANGES = strategies.dictionaries(strategies.sampled_from(list(_GOOD)), _VALUES, max_size=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A source with one picture."""
    path = tmp_path_factory.mktemp("source")
    Image.new("RGB", (8, 8)).save(path / "p.png")
    return path


def _outcome(row, form, task, folder):
    try:
        place = Place(open_source([folder], folder), "a/b.json", "a/b.json[0]", task, Keys())
        return check(form.layout.parse(row, place), task, form.box)
    except RecordError as refusal:
        return refusal


@pytest.mark.parametrize("name", _LAYOUTS)
@hypothesis.settings(max_examples=100, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(changes=_CHANGES, removed=strategies.sampled_from(["", *_GOOD]))
def test_a_row_is_an_example_or_a_named_refusal(name, changes, removed, folder):
    row = {key: value for key, value in {**_GOOD, **changes}.items() if key != removed}
    for task in ("spatial", "web_grounding"):
        outcome = _outcome(row, _LAYOUTS[name], task, folder)
        assert isinstance(outcome, Example) or (outcome.reason and outcome.detail)


@pytest.mark.parametrize(
    "name", ["RL records (parquet)", "conversations (jsonl)", "BLINK (parquet)", "episodes (JSON files)"]
)
def test_the_unchanged_row_is_an_example(name, folder):
    assert isinstance(_outcome(_GOOD, _LAYOUTS[name], "spatial", folder), Example)
