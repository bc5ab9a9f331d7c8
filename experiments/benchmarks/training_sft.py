"""Supervised learning beside a plain PyTorch loop: positions/s of the same rows on the same weights."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import timing, training_peers
from vigorl_jax.qwen25vl import flops
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.inputs import text_inputs
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.qwen25vl.patch_layout import Grid, patch_layout
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.training.batch import Batch, Targets
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.optimiser import OptimiserSettings


@dataclasses.dataclass(frozen=True)
class SftJob:
    """Rows of equal length, each a prompt and what is learned.

    Attributes:
      rows, length: of the batch.
      learned: how many tokens at the end of each row are targets.
      grid: in patches, of an image at the start of each row; None is text alone.
    """

    rows: int = 32
    length: int = 100
    learned: int = 99
    grid: Grid | None = None

    @property
    def grids(self) -> list[Grid]:
        """Of all images."""
        return [] if self.grid is None else [self.grid] * self.rows

    def flops(self, config: Config) -> int:
        """Of a step with a frozen tower: its images forward, the text forward and twice that backward."""
        text = flops.text_flops(config.text, self.length) + flops.logits_flops(config.text, self.learned)
        return flops.vision_flops(config.vision, self.grids) + 3 * self.rows * text


TEXT = SftJob()
WITH_IMAGE = SftJob(learned=50, grid=(1, 8, 8))  # 112 x 112 pixels
JOBS = {"text": TEXT, "image": WITH_IMAGE}


def run(config: Config, params: Params, *, repetitions: int, compiled: bool, job: SftJob) -> dict:
    """Times of both sides and their ratios, the losses of the first step, and the floor of FLOPs at the peak.

    compiled: also beside the loop under `torch.compile`, which takes a minute to start.
    """
    batch, layout, patches = rows_of(config, job)
    learner = Learner(config, LearnerSettings(optimiser=OptimiserSettings(learning_rate=1e-5)))
    sides = {"ours": our_step(learner, params, batch, layout, patches)}
    for name in ("pytorch", "pytorch_compiled")[: 1 + compiled]:
        sides[name] = training_peers.torch_sft_step(
            config, params, batch, patches, job.grids, compiled=name == "pytorch_compiled"
        )
    losses = {name: side() for name, side in sides.items()}
    times, peak = timing.paired(sides, repetitions=repetitions), timing.matmul_peak()
    positions = job.rows * job.length
    return {
        **{
            name: {
                **times[name],
                "positions_per_s": 1e3 * positions / times[name]["median_ms"],
                "loss": losses[name],
            }
            for name in sides
        },
        "times_as_fast": times["pytorch"]["ratio_to_first"],
        **({"times_as_fast_as_compiled": times["pytorch_compiled"]["ratio_to_first"]} if compiled else {}),
        "gflop": job.flops(config) / 1e9,
        "times_the_floor": times["ours"]["median_ms"] * peak / (1e3 * job.flops(config)),
    }


def rows_of(config: Config, job: SftJob):
    """Random rows of the job: the batch, the layout of its images and their normalised patches, None without."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, min(config.text.vocab_size, 250), (job.rows, job.length)).astype(np.int32)
    if job.grid is not None:
        merged = job.grid[1] * job.grid[2] // config.vision.spatial_merge_size**2
        tokens[:, 0], tokens[:, merged + 1] = config.vision_start_token_id, config.vision_end_token_id
        tokens[:, 1 : merged + 1] = config.image_token_id
    layout = patch_layout(job.grids, config.vision) if job.grids else None
    inputs = text_inputs(
        [(row, [job.grid] if job.grid else []) for row in tokens], config, layout, length=job.length
    )
    start, shape = job.length - job.learned, (job.rows, job.learned)
    targets = Targets(
        tokens=tokens[:, start:],
        sources=np.broadcast_to(np.arange(start - 1, job.length - 1, dtype=np.int32), shape),
        mask=np.ones(shape, np.bool_),
        episodes=np.zeros(shape, np.int32),
        advantages=np.ones(shape, np.float32),
        sampler_log_probs=np.zeros(shape, np.float32),
        row_episodes=1,
    )
    batch = Batch(inputs.tokens, inputs.positions, None, inputs.image_slots, targets)
    if layout is None:
        return batch, None, None
    count = sum(height * width for _, height, width in job.grids)
    return batch, layout, rng.normal(size=(count, config.vision.patch_values)).astype(np.float32)


def our_step(learner: Learner, params: Params, batch: Batch, layout, patches) -> Callable[[], float]:
    """A function that makes one update and returns its loss."""
    state = learner.init(params)
    if layout is None:
        images = jnp.zeros((1, learner.config.text.width))
    else:
        padded = np.zeros((layout.source.size, patches.shape[1]), np.float32)
        padded[: len(patches)] = patches
        images = PatchBatch.from_layout(jnp.asarray(padded), layout)

    def step() -> float:
        nonlocal state
        state, metrics = learner.update(state, [batch], images)
        jax.block_until_ready(state)
        return metrics["loss"]

    return step
