"""The network computes what the PyTorch model computes, module by module."""

import itertools
import time

import numpy as np
import pytest

from vigorl_jax.qwen25vl import weights
from vigorl_jax.testing import comparison
from vigorl_jax.testing.models import random_config, random_dialogue, random_params
from vigorl_jax.testing.reference import Reference

# 28 x 28 pixels, a 1:20 strip each way, grids that no window size divides, one that 112 pixels divide.
GRIDS = [(1, 2, 2), (1, 2, 40), (1, 40, 2), (1, 10, 14), (1, 6, 18), (1, 16, 8)]
# A language model of width 8 turns the last bits of its input into more than the tolerance, in PyTorch as here.
NARROWEST = 16
FRESH_SEED = next(
    s for s in itertools.count(time.time_ns() % 100_000) if random_config(s).text.width >= NARROWEST
)
STAGE_TOLERANCE, LOGIT_TOLERANCE = 1e-5, 1e-4


def _rows(rng, config, image_counts):
    rows = []
    for count in image_counts:
        grids = [GRIDS[i] for i in rng.choice(len(GRIDS), count, replace=False)]
        rows.append((random_dialogue(rng, config, grids), grids))
    return rows


# Beside PyTorch's float32, whose own distance to float64 is about twice ours, seeds are fixed; a new seed at every run
# has float64 as its reference.
@pytest.mark.parametrize(
    ("seed", "dtype"),
    [(0, "float32"), (1, "float32"), (2, "float32"), (3, "float32"), (FRESH_SEED, "float64")],
)
def test_every_module_equals_the_pytorch_model_on_a_random_configuration(seed, dtype, tmp_path):
    rng = np.random.default_rng(seed)
    config = random_config(seed)
    weights.save(tmp_path, config, random_params(config, seed))
    rows = _rows(rng, config, image_counts=[1, 3, 0, 2])
    config, params = weights.load(tmp_path)
    patches = comparison.random_patches(rng, rows, config)
    report = comparison.compare(config, params, Reference(tmp_path, dtype), rows, patches)
    assert report.positions_equal
    assert report.worst_relative_stage < STAGE_TOLERANCE, report.stages
    assert report.logits.max_absolute < LOGIT_TOLERANCE, report.logits
