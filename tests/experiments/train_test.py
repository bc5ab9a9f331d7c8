"""The training binaries end to end: scenes as prepared records, dialogues, policy gradients, a model for PyTorch."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from vigorl_jax import rollout
from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.glyph_export import export
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
from vigorl_jax.datasets.reading import open_split
from vigorl_jax.processing.patches import normalise, pack_patches
from vigorl_jax.reasoning.dialogue import Limits
from vigorl_jax.reasoning.zoom import Edges, ZoomSettings
from vigorl_jax.runs import policy as policies
from vigorl_jax.runs.tiny_world import lexicon
from vigorl_jax.sampling import decoding
from vigorl_jax.sampling.requests import TurnSettings
from vigorl_jax.tasks.glyph_levels import LEVEL_1
from vigorl_jax.tasks.glyph_search import ZOOM

ROOT = pathlib.Path(__file__).parents[2]
SFT_STEPS = 80


def _run(name, *arguments, check=True):
    command = [sys.executable, "-m", f"experiments.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Scenes in the released layout, prepared."""
    folder = tmp_path_factory.mktemp("glyph")
    export(folder / "source", LEVEL_1, {"train": 96, "val": 4}, seed=4)
    prepare(CATALOG["glyph_search"], [folder / "source"], folder / "data", Settings())
    return folder / "data"


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """Work directories of a short supervised run, from which the model writes zooms, and of a short GRPO run."""
    folder = tmp_path_factory.mktemp("runs")
    common = (
        "--datasets=glyph_search", f"--data_dir={data_dir}", "--validation_datasets=glyph_search",
        "--validation_size=4", "--validation_at_start=false", f"--compilation_cache={folder / 'programs'}",
    )  # fmt: skip
    _run(
        "train_sft", "--preset=glyph_search_tiny_sft", f"--workdir={folder / 'sft'}", *common,
        f"--num_steps={SFT_STEPS}",
    )  # fmt: skip
    _run(
        "train_grpo", "--preset=glyph_search_tiny", f"--workdir={folder / 'grpo'}", *common,
        f"--model={folder / 'sft' / 'model'}", "--num_steps=3", "--checkpoint_every=2", "--report_every=3",
        "--examples_per_step=8", "--group_size=4", "--slots=32",
    )  # fmt: skip
    return folder / "sft", folder / "grpo"


@pytest.mark.slow
def test_everything_is_written(trained):
    for workdir in trained:
        assert {"checkpoints", "config.json", "metrics.jsonl", "tensorboard", "model", "episodes"} <= {
            path.name for path in workdir.iterdir()
        }
    config = json.loads((trained[1] / "config.json").read_text())
    assert (config["group_size"], config["datasets"]) == (4, ["glyph_search"])
    pages = sorted(path.name for path in (trained[1] / "episodes").iterdir())
    assert pages == ["step_000003.html", "validation_000003.html"]


@pytest.mark.slow
def test_episodes_zoom_and_metrics_say_how(trained):
    lines = [json.loads(line) for line in (trained[1] / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(line["zooms_per_episode"] > 0.3 for line in lines)
    assert all(line["sampler_gap/abs"] < 1e-4 for line in lines)
    last = lines[-1]
    low, value, high = (last[f"validation/glyph_search/accuracy{end}"] for end in ("_low", "", "_high"))
    assert low <= value <= high
    assert {"time/roll out", "time/reward", "time/learn", "time/tokens_per_second"} <= set(last)


@pytest.mark.slow
def test_transformers_gives_the_same_greedy_answers(trained, data_dir):
    """Every token of greedy episodes, zooms included, is the likeliest under PyTorch with the final model."""
    from vigorl_jax.testing.reference import Reference

    policy = policies.load(str(trained[1] / "model"))
    plan = rollout.plan(
        "glyph_search",
        limits=Limits(max_turns=4, max_zooms=3, max_turn_tokens=40, max_tokens=256),
        system=lexicon.SYSTEMS["multiturn"],
        zoom_settings=ZoomSettings(ZOOM, Edges.SNAP),
        forces_answer=False,
    )
    examples = list(open_split("glyph_search", data_dir, "val"))
    settings = rollout.Settings({"glyph_search": plan}, policy.images, TurnSettings(1, temperature=0.0))
    scheduler = policies.scheduler(policy, [plan], prompt_tokens=80, slots=4)
    groups = rollout.collect(scheduler, examples, policy.tokenizer, settings, seed=0)
    model = Reference(trained[1] / "model")
    banned = decoding.banned_tokens(policy.config, text_tokens=policy.tokenizer.vocab_size)
    for (episode,) in groups:
        patches = [view.patches for view in episode.views]
        count = sum(one.count for one in patches)
        pixels = np.asarray(normalise(pack_patches(patches), policy.images))[:count]
        grids = [one.grids[0] for one in patches]
        ids = episode.token_ids[None]
        logits = np.where(banned, -np.inf, model(ids, np.array([ids.shape[1]]), pixels, grids).logits[0])
        places = np.flatnonzero(episode.mask)
        chosen = logits[places - 1, episode.token_ids[places]]
        np.testing.assert_allclose(chosen, logits[places - 1].max(axis=1), atol=1e-4)
    assert any(episode.crops for (episode,) in groups)


@pytest.mark.slow
def test_a_finished_run_that_is_started_again_does_nothing_and_other_settings_are_refused(trained, data_dir):
    sft, workdir = trained
    again = (
        "train_grpo", "--preset=glyph_search_tiny", f"--workdir={workdir}", f"--model={sft / 'model'}",
        "--datasets=glyph_search", f"--data_dir={data_dir}", "--num_steps=3", "--examples_per_step=8",
        "--slots=32",
    )  # fmt: skip
    done = _run(*again, "--group_size=2", check=False)
    assert done.returncode == 1
    assert "group_size was 4, is 2" in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_that_contradict_the_preset_get_one_line_and_no_traceback(tmp_path):
    done = _run("train_grpo", "--preset=glyph_search_tiny", f"--workdir={tmp_path}", "--overlap", check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "train_grpo: overlap learns from episodes of older parameters; give an importance_cap, such as 2"
    ]
