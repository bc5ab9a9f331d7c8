"""The update at the released 3B shape with random weights, beside the peak of the accelerator it runs on."""

import dataclasses

import jax
import jax.numpy as jnp

from experiments.benchmarks import timing
from experiments.benchmarks.accelerator_sampling import RELEASED_3B, bfloat16_peak
from experiments.benchmarks.training_sft import SftJob, our_step, rows_of
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import init_params
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings

# A row of 4,096 tokens begins with an image of 1,003,520 pixels: 5,120 patches, 1,280 tokens.
JOB = SftJob(rows=1, length=4096, learned=2048, grid=(1, 64, 80))
ROWS = (1, 2, 4)
REPETITIONS = 5
# Full parameters within 80 GB: bfloat16 weights with Kahan summation, every layer recomputed.
SETTINGS = LearnerSettings(weights="bfloat16", compute_dtype="bfloat16", remat="full")


def run(config: Config = RELEASED_3B, *, job: SftJob = JOB, rows: tuple[int, ...] = ROWS) -> dict:
    """Model FLOPs utilisation of an update by rows, windows counted as windows, and the memory of a step.

    Recomputed operations do not count as useful. The sizes are tried in turn until one does not fit.
    """
    peak = bfloat16_peak()
    figures = {
        "bfloat16_tflops": peak / 1e12,
        "settings": dataclasses.asdict(SETTINGS) | {"aggregate": "token_mean"},
    }
    for count in rows:
        try:
            figures[f"rows_{count}"] = _update(config, dataclasses.replace(job, rows=count), peak)
        except jax.errors.JaxRuntimeError as error:
            figures[f"rows_{count}"] = f"does not fit: {str(error).splitlines()[0]}"
            break
    return figures


def _update(config: Config, job: SftJob, peak: float) -> dict:
    params = jax.jit(lambda: init_params(config, jax.random.key(0), jnp.bfloat16))()
    step = our_step(Learner(config, SETTINGS), params, *rows_of(config, job))
    del params
    step()
    seconds = sorted(timing.elapsed(step)[1] for _ in range(REPETITIONS))[REPETITIONS // 2]
    memory = jax.devices()[0].memory_stats() or {}
    return {
        "ms": 1e3 * seconds,
        "tokens_per_s": job.rows * job.length / seconds,
        "tflop": job.flops(config) / 1e12,
        "model_flops_utilisation": job.flops(config) / seconds / peak,
        "peak_memory_gb": memory.get("peak_bytes_in_use", 0) / 1e9,
    }
