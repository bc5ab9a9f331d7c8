"""A GRPO run of seconds: what tests of whole runs start as processes of their own, kill, and compare.

A model of one layer each rolls out two-turn episodes with a zoom on generated scenes, for a reward that its random
weights meet by chance. Beside the run's own files it writes what was learned from and the final state.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import signal
import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning import turns
from vigorl_jax.reasoning.turns import Answer, Turn, Zoom
from vigorl_jax.runs import fields, start
from vigorl_jax.runs.clock import Clock
from vigorl_jax.runs.compiled import keep_compiled
from vigorl_jax.runs.grpo import GrpoJob
from vigorl_jax.runs.job import on_host
from vigorl_jax.runs.settings import GrpoRun
from vigorl_jax.runs.tiny_world import model
from vigorl_jax.testing.models import random_params
from vigorl_jax.testing.toy_run import kill_in_save
from vigorl_jax.training import distributed

LEARNED, FINAL = "learned.jsonl", "final.npz"
REWARD = '''"""Pays for the share of letters in what was written."""


def compute_score(predict_str, ground_truth):
    share = sum(c.isalpha() for c in predict_str) / max(1, len(predict_str))
    return {"overall": share, "format": 1.0, "accuracy": share}
'''
VALUES: Mapping[str, Any] = {
    "datasets": ("glyph_search/level_1",),
    "num_steps": 6,
    "checkpoint_every": 2,
    "report_every": None,
    "prompt": "tiny",
    "max_prompt_tokens": 48,
    "max_turns": 2,
    "max_zooms": 1,
    "max_turn_tokens": 5,
    "max_tokens": 128,
    "zoom_offset": 56,
    "zoom_side": 56,
    "zoom_dot": False,
    "examples_per_step": 4,
    "group_size": 2,
    "slots": 8,
    "micro_rows": 8,
    "row_length": 128,
    "frozen": "nothing",
    "learning_rate": 1e-2,
    "compute_dtype": "float32",
    "remat": "none",
    "kl_coefficient": 0.01,
    "mesh": "data=-1",
    "progress_seconds": 0.0,
    "tensorboard": False,
}


@dataclasses.dataclass(frozen=True)
class TinyRun:
    """What a test may ask of the process.

    Attributes:
      folder: of the model and the reward, see `write_files`.
      workdir: of the run.
      values: of the run's settings, on top of VALUES.
      kill: moment of a SIGKILL to itself: "learn:2" (its second phase of that name), "save:2" (its second save, when
        that has begun).
      devices: virtual devices of this process.
      hosts: how several processes find each other.
      cache: folder of compiled programs.
    """

    folder: str
    workdir: str
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    kill: str = ""
    devices: int = 1
    hosts: distributed.Hosts = dataclasses.field(default_factory=distributed.Hosts)
    cache: str = ""

    @property
    def settings(self) -> GrpoRun:
        """Those of the run."""
        folder = pathlib.Path(self.folder)
        given = {
            "model": str(folder / "model"),
            "workdir": self.workdir,
            "reward": f"{folder / 'reward.py'}:compute_score",
        }
        return fields.build(GrpoRun, {**VALUES, **given, **self.values})


def write_files(folder: pathlib.Path, reward: str = REWARD) -> None:
    """The model directory and the reward of a tiny run."""
    config = model.config(layers=1, vision_depth=1)
    images = ImageSettings(min_pixels=56 * 56, max_pixels=56 * 56)
    (folder / "model").mkdir(parents=True)
    model.write_files(folder / "model", config, random_params(config, 0), images)
    (folder / "reward.py").write_text(reward, encoding="utf-8")


def always_zoom() -> None:
    """Takes a turn for a zoom until an answer is forced: random weights write neither."""

    def parse(text: str, **_: Any) -> Turn:
        return Answer("L") if text.startswith("<think>") else Zoom((20, 30))

    turns.parse = parse


def run(tiny: TinyRun, output: str) -> None:
    """Runs as the binary would, in a process of its own whose standard error goes to the file `output`."""
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={tiny.devices}"
    if tiny.cache:
        keep_compiled(tiny.cache, least_seconds=0.0)
    always_zoom()
    moment, _, count = tiny.kill.partition(":")
    if moment == "save":
        kill_in_save(int(count))
    elif moment:
        _kill_in_phase(moment, int(count))
    start.GrpoJob = RecordedJob
    try:
        distributed.initialise(tiny.hosts)
        start.train_grpo(tiny.settings)
    except ValueError as error:
        sys.exit(f"tiny_run: {error}")


class RecordedJob(GrpoJob):
    """Writes `learned.jsonl`, a line of digests a step, and `final.npz`, all of the final state."""

    def _learn(self, groups, frame, seen=None):
        if distributed.is_main():
            record = {"step": self.finished_steps + 1, "episodes": [_record(e) for g in groups for e in g]}
            with (frame.workdir / LEARNED).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        return super()._learn(groups, frame, seen)

    def finish(self, frame):
        """See `loop.Job`."""
        super().finish(frame)
        leaves = jax.tree.leaves(on_host(self.state))
        if distributed.is_main():
            np.savez(frame.workdir / FINAL, **{f"{i:04d}": leaf for i, leaf in enumerate(leaves)})


def learned(workdir: pathlib.Path) -> dict[int, list]:
    """What each step learned from, the last time that it was made."""
    lines = (workdir / LEARNED).read_text(encoding="utf-8").splitlines()
    return {record["step"]: record["episodes"] for record in map(json.loads, lines)}


def final(workdir: pathlib.Path) -> list[np.ndarray]:
    """All arrays of the final state."""
    with np.load(workdir / FINAL) as arrays:
        return [arrays[name] for name in sorted(arrays.files)]


def _record(episode) -> list:
    pixels = hashlib.sha256()
    for view in episode.views:
        pixels.update(np.asarray(view.patches.pixels).tobytes())
    return [
        episode.example.id,
        episode.token_ids.tolist(),
        episode.log_probs.tolist(),
        dict(episode.reward),
        pixels.hexdigest(),
    ]


def _kill_in_phase(name: str, count: int) -> None:
    entered = itertools.count(1)
    original = Clock.phase

    def phase(self: Clock, phase_name: str):
        if phase_name == name and next(entered) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, phase_name)

    Clock.phase = phase
