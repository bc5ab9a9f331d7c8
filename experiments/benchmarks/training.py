"""The learner beside PyTorch: supervised steps, steps of policy gradients beside TRL, work of a step in operations."""

import jax

from experiments.benchmarks import timing, training_accelerator, training_grpo, training_sft, training_work
from experiments.benchmarks.accelerator_sampling import RELEASED_3B
from experiments.benchmarks.backbone import CONFIG as MID
from experiments.benchmarks.sampling import TINY
from vigorl_jax.host_memory import keep_freed_memory
from vigorl_jax.testing.models import random_params

SFT_REPETITIONS, LARGE_REPETITIONS, GRPO_REPETITIONS = 15, 3, 7
ON_ACCELERATORS = "measured on an accelerator only; this device is a CPU"


def run() -> dict:
    """All measurements of the suite, in one run, float32 on both sides; on an accelerator the 3B shape too."""
    keep_freed_memory()
    figures = {
        "machine": timing.machine(),
        "matmul_gflops": timing.matmul_peak() / 1e9,
        "sft": {"0.6M": _small_sft(), "65M": _large_sft()},
        "grpo": training_grpo.run(repetitions=GRPO_REPETITIONS),
        "work_per_step": training_work.run(RELEASED_3B, TINY),
        "3B": ON_ACCELERATORS,
    }
    if jax.default_backend() != "cpu":
        figures["3B"] = training_accelerator.run()
    return {**figures, "peak_memory_gib": timing.peak_memory_gib()}


def _small_sft() -> dict:
    params = random_params(TINY, 0)
    return {
        name: training_sft.run(TINY, params, repetitions=SFT_REPETITIONS, compiled=True, job=job)
        for name, job in training_sft.JOBS.items()
    }


def _large_sft() -> dict:
    job = training_sft.JOBS["text"]
    params = random_params(MID, 0)
    return {"text": training_sft.run(MID, params, repetitions=LARGE_REPETITIONS, compiled=False, job=job)}
