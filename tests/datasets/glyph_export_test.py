"""GlyphSearch exported in the released RL layout, prepared, and read back as it was."""

import json

import pytest

from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.glyph_export import export
from vigorl_jax.datasets.layouts import released
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
from vigorl_jax.datasets.reading import Order, open_split, stream
from vigorl_jax.datasets.refusals import RecordError, SourceError
from vigorl_jax.tasks.glyph_levels import LEVEL_1, LEVEL_2
from vigorl_jax.tasks.glyph_search import GlyphExamples, example


def test_exported_files_come_back_as_the_examples_that_they_were_made_from(tmp_path):
    written = export(tmp_path / "source", LEVEL_2, {"train": 6, "val": 3}, seed=4)
    report = prepare(CATALOG["glyph_search"], [tmp_path / "source"], tmp_path / "data", Settings())
    for split, examples in written.items():
        assert list(open_split("glyph_search", tmp_path / "data", split)) == list(examples)
        assert report.splits[split].kept == len(examples)
    assert written["val"][0] == example(LEVEL_2, 4, 6)


def test_a_record_has_the_released_columns(tmp_path):
    export(tmp_path, LEVEL_1, {"train": 1, "val": 1})
    folder = tmp_path / "glyph_search"
    row = json.loads((folder / "glyph_search_train_RL.jsonl").read_text())
    assert row["problem"] == "<image>Which letter is on the yellow circle?"
    assert (row["answer"], row["boxes"]) == ("Z", [[126.0, 126.0, 182.0, 182.0]])
    assert row["images"] == ["glyph_search/images/level_1_0_0_0.png"]
    assert (tmp_path / row["images"][0]).read_bytes() == example(LEVEL_1, 0, 0).images[0]


def test_generated_examples_stream_without_files():
    examples = GlyphExamples(LEVEL_1, seed=0, count=8)
    read = list(stream(examples, Order(shuffle_seed=1, num_threads=2)))
    assert sorted(one.metadata["index"] for one in read) == list(range(8))


def test_wrong_exports_are_refused(tmp_path):
    with pytest.raises(SourceError, match="glyph_search has the splits train, val; got test"):
        export(tmp_path, LEVEL_1, {"test": 1})
    (tmp_path / "taken").write_text("")
    with pytest.raises(SourceError, match="is not empty: give a new folder"):
        export(tmp_path, LEVEL_1, {"train": 1, "val": 1})


@pytest.mark.parametrize(
    ("boxes", "reason"), [(None, "missing_key"), ("(1, 2, 3, 4)", "wrong_type"), ([[1, 2, 3]], "wrong_type")]
)
def test_boxes_that_cannot_be_read_are_refused(boxes, reason):
    with pytest.raises(RecordError) as refusal:
        released.parse_boxed_rl({"problem": "p", "answer": "a", "images": [], "boxes": boxes}, place=None)
    assert refusal.value.reason == reason
