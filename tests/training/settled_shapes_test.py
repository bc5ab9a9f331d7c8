"""Shapes of updates settle: a step a little smaller than one before it uses the same compiled program."""

import json

import numpy as np

from vigorl_jax.buckets import bucket
from vigorl_jax.training.batch import BatchShape
from vigorl_jax.training.settled_shapes import SettledShapes


def test_a_smaller_step_takes_the_shape_before_it_unless_padding_would_cost_too_much():
    shapes = SettledShapes()
    large = (BatchShape(64, 20, 2), 56)
    assert shapes.settle(BatchShape(64, 20, 1), 40) == large
    assert shapes.settle(BatchShape(56, 14, 2), 30) == large
    # 40 tokens in rows of 64 would be 60 % more, 12 targets in 20 two thirds.
    assert shapes.settle(BatchShape(40, 20, 1), 30) == (BatchShape(40, 20, 2), 56)
    assert shapes.settle(BatchShape(64, 12, 1), 30) == (BatchShape(64, 12, 2), 56)


def test_what_costs_nothing_only_grows():
    shapes = SettledShapes()
    shapes.settle(BatchShape(64, 20, 8), 39)
    assert shapes.settle(BatchShape(32, 8, 2), 50) == (BatchShape(32, 8, 16), 64)
    assert shapes.settle(BatchShape(32, 8, 2), 63) == (BatchShape(32, 8, 16), 64)


def test_a_resumed_run_goes_on_with_the_same_shapes():
    rng = np.random.default_rng(0)
    steps = [
        (BatchShape(*(int(n) for n in rng.integers(1, 64, 3))), int(rng.integers(1, 99))) for _ in range(40)
    ]
    whole, first, second = SettledShapes(), SettledShapes(), SettledShapes()
    expected = [whole.settle(*step) for step in steps]
    found = [first.settle(*step) for step in steps[:20]]
    second.restore(json.loads(json.dumps(first.counters)))
    assert found + [second.settle(*step) for step in steps[20:]] == expected


def test_random_steps_of_a_run_meet_few_shapes():
    """Sizes that vary by a half meet 47 combinations of buckets."""
    rng, shapes = np.random.default_rng(0), SettledShapes()
    drawn = [bucket(int(n * (1 + rng.random() / 2))) for _ in range(200) for n in (400, 120, 4, 300)]
    wanted = [(BatchShape(*sizes[:3]), sizes[3]) for sizes in zip(*[iter(drawn)] * 4, strict=True)]
    assert len(set(wanted)) == 47
    assert len({shapes.settle(*step) for step in wanted}) <= 6
