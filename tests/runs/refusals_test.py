"""What a run cannot do is said in one message, before anything is compiled."""

import pathlib

import jax.numpy as jnp
import pytest

from vigorl_jax.runs import data, fields, loop, parts, start
from vigorl_jax.runs.bad_records import BadRecords, BadRecordSettings, TooManyBadRecords
from vigorl_jax.runs.data import ExampleSource
from vigorl_jax.runs.loop import RunError
from vigorl_jax.runs.settings import GrpoRun
from vigorl_jax.tasks import glyph_levels, glyph_search
from vigorl_jax.tasks.example import Example
from vigorl_jax.testing import tiny_run
from vigorl_jax.training.checkpoint import CheckpointError, Checkpoints, Snapshot
from vigorl_jax.training.distributed import DistributedError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_run.write_files(folder)
    return folder


@pytest.fixture
def settings(folder, tmp_path):
    """settings(**values) of a tiny run on one of the eight virtual devices."""

    def make(**values):
        tiny = tiny_run.TinyRun(str(folder), str(tmp_path / "run"), {"mesh": "fsdp=8", **values})
        return tiny.settings

    return make


def test_a_batch_that_the_mesh_does_not_divide(settings):
    with pytest.raises(
        DistributedError, match=r"an update of 6 rows cannot be split over a mesh of data 1 x fsdp 8"
    ):
        start.train_grpo(settings(examples_per_step=3, row_length=None))


def test_a_mesh_of_more_devices_than_there_are(settings):
    with pytest.raises(DistributedError, match=r"mesh 'fsdp=3' does not fit 8 devices"):
        start.train_grpo(settings(mesh="fsdp=3"))


def test_a_run_without_a_work_directory(settings):
    run = fields.replace(settings(), {"workdir": None})
    with pytest.raises(RunError, match="no workdir is given; name the directory"):
        start.train_grpo(run)


def test_a_checkpoint_of_another_configuration(settings):
    run = settings()
    config = {**fields.values(run), "learning_rate": 5.0, "num_steps": 3}
    with Checkpoints(pathlib.Path(run.workdir) / loop.CHECKPOINTS, config) as checkpoints:
        checkpoints.save(Snapshot(1, {"w": jnp.zeros(2)}))
    with pytest.raises(
        CheckpointError, match=r"another configuration: learning_rate was 5.0, is 0.01; give the old"
    ):
        start.train_grpo(run)


class _Records:
    """Scenes, of which every fifth has lost its image."""

    def __len__(self):
        return 50

    def __getitem__(self, index):
        example = glyph_search.example(glyph_levels.LEVEL_1, 0, index)
        return example if index % 5 else Example(f"lost/{index}", example.task, "?", "L", (b"gone",))


@pytest.fixture
def source(settings, monkeypatch):
    """source(max_share) reads `_Records` for a run, with the list of what is said of bad ones."""
    monkeypatch.setattr(data, "open_examples", lambda *_: _Records())
    run = settings()
    model = parts.load_model(run, pathlib.Path(run.model))
    plans = parts.make_plans(run, model, ["glyph_search"])

    def make(max_share):
        said = []
        bad = BadRecords(BadRecordSettings(max_share=max_share, window=10), said.append)
        return ExampleSource(run.data, bad, parts.usable(run, model, plans)), bad, said

    return make


def test_records_without_their_image_are_skipped_counted_and_named(source):
    examples, bad, said = source(0.5)
    taken = examples.take(20)
    assert len(taken) == 20
    assert not any(example.id.startswith("lost") for example in taken)
    assert bad.bad == len(said) > 0
    assert all(line.startswith("record 'lost/") and "is skipped: image of 'lost/" in line for line in said)


def test_the_run_stops_when_too_many_records_have_lost_their_image(source):
    examples, _, _ = source(0.05)
    with pytest.raises(TooManyBadRecords, match=r"more than a share of 0.05: lost/\d+"):
        examples.take(40)


def test_an_opening_that_is_too_long_makes_a_record_unusable(settings):
    run = settings(max_prompt_tokens=16)
    model = parts.load_model(run, pathlib.Path(run.model))
    check = parts.usable(run, model, parts.make_plans(run, model, ["glyph_search"]))
    example = glyph_search.example(glyph_levels.LEVEL_1, 0, 0)
    with pytest.raises(
        ValueError, match=r"'level_1/0/0' opens with \d+ tokens, more than max_prompt_tokens 16"
    ):
        check(example)
    assert parts.usable(settings(), model, parts.make_plans(run, model, ["glyph_search"]))(example) is example


def test_settings_that_contradict_each_other(settings):
    with pytest.raises(
        ValueError, match="overlap learns from episodes of older parameters; give an importance_cap"
    ):
        settings(overlap=True)
    assert isinstance(settings(overlap=True, importance_cap=2.0), GrpoRun)
