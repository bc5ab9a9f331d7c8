"""After a warm-up nothing is compiled, whatever changes between epochs: crops, settings, stops, limits, weights."""

import jax
import numpy as np
import pytest

from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.sampling.requests import Stream, TurnSettings
from vigorl_jax.sampling.warm_up import warm_up
from vigorl_jax.testing.compilations import compilations
from vigorl_jax.testing.sampling import Plan, random_given, roll_out, stop_at

OVERVIEW, CROPS = (1, 4, 6), ((1, 4, 4), (1, 2, 6), (1, 6, 2))


def _plans(config: Config, number: int) -> list[Plan]:
    """Two-turn zooms with other crops, temperatures, cuts and limits than in other epochs."""
    rng = np.random.default_rng(number)
    first = TurnSettings(6 + number, temperature=0.5 * number)
    answer = TurnSettings(
        5, temperature=1 + number, top_p=1 - 0.1 * number, top_k=number, min_p=0.01 * number
    )
    plans = []
    for example in range(3):
        prompt = random_given(rng, config, [OVERVIEW] if example else [])
        plans += [
            Plan(
                Stream(0, number, example, episode),
                (prompt, random_given(rng, config, [CROPS[rng.integers(3)]])),
                (first, answer),
            )
            for episode in range(2)
        ]
    return plans


@pytest.mark.parametrize("world", ["plain", "shared"])
def test_epochs_compile_nothing_after_a_warm_up(world, request):
    world = request.getfixturevalue(world)
    scheduler = world.scheduler()
    warm_up(world.sampler, world.params, scheduler.images, scheduler.stops, [OVERVIEW, *CROPS])
    plans = [_plans(world.config, number) for number in range(3)]
    weights = [jax.tree.map(lambda x, n=number: x * (1 + 0.01 * n), world.params) for number in range(3)]
    with compilations() as seconds:
        for number in range(3):
            scheduler.params = weights[number]
            scheduler.images.at_version(number)
            scheduler.stops = stop_at(world.config, *world.config.eos_token_id, *range(20 * number))
            roll_out(scheduler, plans[number])
    assert not seconds
    assert scheduler.account.sampled > 0


def test_a_new_shape_is_counted(plain):
    with compilations() as seconds:
        jax.jit(lambda x: x + 1)(np.zeros(17))
    assert len(seconds) == 1
