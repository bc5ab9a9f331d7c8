"""Episodes in folders: what is read equals what was written, to the id and to the pixel."""

import dataclasses
import json

import numpy as np
import pytest
from immutabledict import immutabledict

from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
from vigorl_jax.datasets.reading import open_split
from vigorl_jax.processing.patches import to_images
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning import turns, zoom
from vigorl_jax.reasoning.dialogue import Rules, open_dialogue
from vigorl_jax.reasoning.episode_files import load_episode, save_episode
from vigorl_jax.reasoning.turns import Zoom
from vigorl_jax.reasoning.zoom import CutFrom, ZoomSettings, open_source
from vigorl_jax.tasks.task import ZoomPreset

SETTINGS = ImageSettings(max_pixels=196 * 140)


@pytest.fixture(scope="module", params=list(CutFrom))
def episode(request, example, photograph, tokenizer):
    """A zoom, a malformed turn, a repeated one and an answer."""
    source = open_source(photograph, SETTINGS, ZoomSettings(ZoomPreset(40, 56, True), cut_from=request.param))
    dialogue = open_dialogue(example, [source.view], tokenizer, Rules("Look."))
    first = turns.write_zoom("There (60, 70).", Zoom((60, 70)))
    for text in (first, "Hm <|im_end|>", first, "<answer> \u201cred\u201d </answer>"):
        ids = tokenizer.encode_with_tool_tags(text)
        action = dialogue.add_turn(ids, np.linspace(-3, -1e-7, len(ids), dtype=np.float32))
        if isinstance(action, Zoom):
            (action,) = zoom.cut(source, [(action, ())])
        if dialogue.status is None:
            dialogue.observe(action)
    return dataclasses.replace(dialogue.finish(2), reward=immutabledict(overall=0.7, accuracy=1.0))


def test_what_is_read_equals_what_was_written(episode, tmp_path):
    path = save_episode(episode, tmp_path / "a", SETTINGS)
    for place in (path, path.parent):
        read = load_episode(place, SETTINGS)
        assert read == episode
        assert read.reward == episode.reward
        for ours, theirs in zip(read.views, episode.views, strict=True):
            np.testing.assert_array_equal(*(to_images(view.patches, SETTINGS)[0] for view in (ours, theirs)))
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["crop_1.png", "episode.json", "image_0.png"]
    assert (path.parent / "image_0.png").read_bytes() == episode.example.images[0]


def test_the_file_holds_what_readers_of_other_programs_need(episode, tmp_path):
    record = json.loads(save_episode(episode, tmp_path).read_text(encoding="utf-8"))
    assert {key: record["example"][key] for key in ("id", "question", "answer", "task")} == {
        "id": "kite/7", "question": "What colour is the kite?", "answer": "red", "task": "visual_search",
    }  # fmt: skip
    assert record["status"] == "answered"
    assert record["answer"] == "\u201cred\u201d"
    assert record["reward_parts"] == {"overall": 0.7, "accuracy": 1.0}
    assert list(record["frames"]) == ["image_0.png", "crop_1.png"]
    kinds = [segment["kind"] for segment in record["segments"]]
    assert kinds == ["given", "sampled"] * 4
    assert [segment["images"] for segment in record["segments"][::2]] == [
        ["image_0.png"],
        ["crop_1.png"],
        [],
        [],
    ]
    assert sum(segment["num_tokens"] for segment in record["segments"]) == record["num_tokens"]
    assert record["segments"][3]["text"] == "Hm <|im_end|>"
    assert record["segments"][5]["action"]["malformed"] == "repeated_point"
    (mark,) = record["zooms"]
    assert mark["written"] == [60, 70]
    x0, y0, x1, y1 = mark["window"]
    assert x0 <= mark["point"][0] < x1
    assert y0 <= mark["point"][1] < y1
    assert [point["written"] for point in record["points"]] == [[60, 70], [60, 70]]


def test_an_earlier_file_survives_a_failed_write(episode, tmp_path):
    path = save_episode(episode, tmp_path)
    before = path.read_text()
    broken = dataclasses.replace(episode, reward={"overall": object()})
    with pytest.raises(TypeError):
        save_episode(broken, tmp_path)
    assert path.read_text() == before
    assert load_episode(path) == episode


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("status"), "is not an episode .KeyError: 'status'"),
        (lambda record: record.update(status="won"), "is not an episode: 'won' is not a valid Status"),
        (lambda record: record.update(segments=3), "is not an episode .TypeError"),
        (lambda record: record["segments"][0].update(images=["../a.png"]), "'../a.png' does not name a file"),
        (lambda record: record["segments"][0].update(images=["a/b"]), "'a/b' does not name a file beside"),
        (lambda record: record["segments"][1].update(log_probs=[0.0]), "1 log-probs for"),
        (lambda record: record["segments"][1].update(action={}), "is not an episode .KeyError"),
    ],
)
def test_files_that_are_no_episodes_are_refused(episode, tmp_path, change, message):
    path = save_episode(episode, tmp_path)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=message):
        load_episode(path)


def test_text_that_is_no_json_is_refused(tmp_path):
    path = tmp_path / "episode.json"
    for text in ("{", "[" * 100_000, "[]"):
        path.write_text(text)
        with pytest.raises(ValueError, match="is not an episode"):
            load_episode(path)


def test_links_out_of_the_folder_are_refused(episode, tmp_path):
    path = save_episode(episode, tmp_path / "a")
    image = path.parent / "crop_1.png"
    (tmp_path / "secret.png").write_bytes(image.read_bytes())
    image.unlink()
    image.symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match=r"'crop_1\.png' does not name a file beside the JSON file"):
        load_episode(path)


def test_saved_episodes_are_records_of_the_data_set_of_episodes(episode, tmp_path):
    save_episode(episode, tmp_path / "source" / "7", SETTINGS)
    prepare(CATALOG["episodes"], [tmp_path / "source"], tmp_path / "data", Settings(task="visual_search"))
    (record,) = open_split("episodes", tmp_path / "data", "train")
    assert (record.question, record.answer) == (episode.example.question, episode.example.answer)
    assert record.metadata["status"] == "answered"
    assert len(record.images) == len(episode.views)
    assert record.images[0] == episode.example.images[0]
