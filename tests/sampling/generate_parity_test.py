"""Greedy text equals `transformers.generate` token for token: images, mixed lengths, and images in later turns."""

import dataclasses

import numpy as np
import pytest

from vigorl_jax.qwen25vl import weights
from vigorl_jax.sampling import decoding
from vigorl_jax.sampling.requests import Stream, TurnSettings
from vigorl_jax.testing.models import random_config
from vigorl_jax.testing.sampling import Plan, pixels, random_given, roll_out

# Images before turns 1, 2 and 3 of each dialogue.
DIALOGUES = (
    ([(1, 4, 6)], [(1, 4, 4)], [(1, 2, 4), (1, 6, 2)]),
    ([(1, 4, 4), (1, 2, 6), (1, 6, 4)], [], [(1, 4, 4)]),
    ([], [(1, 6, 6)], []),
)
GREEDY = TurnSettings(10, temperature=0.0)


# Heads to a key-value head, head apart or tied: 2 apart, 3 tied, 1 apart.
SEEDS = (2, 4, 8)


def _plans(config):
    rng = np.random.default_rng(0)
    return [
        Plan(Stream(0, 0, i, 0), tuple(random_given(rng, config, grids) for grids in dialogue), (GREEDY,) * 3)
        for i, dialogue in enumerate(DIALOGUES)
    ]  # fmt: skip


def _generated(config, params, plans, directory) -> list[list[int]]:
    """The dialogues of PyTorch, which reads all of a dialogue again for each turn."""
    from vigorl_jax.testing.reference import Reference

    weights.save(directory, config, params)
    model = Reference(directory).model
    dialogues = []
    for plan in plans:
        tokens, images = [], []
        for given in plan.given:
            tokens.extend(given.tokens.tolist())
            images.extend(given.images)
            tokens = _generate(model, config, tokens, images)
        dialogues.append(tokens)
    return dialogues


def _generate(model, config, tokens, images) -> list[int]:
    import torch

    ids = torch.tensor([tokens])
    inputs = {"input_ids": ids, "mm_token_type_ids": (ids == config.image_token_id).int()}
    if images:
        count = sum(image.patches.count for image in images)
        inputs["pixel_values"] = torch.tensor(np.array(pixels(images, count)))
        inputs["image_grid_thw"] = torch.tensor([image.grid for image in images])
    model.model.rope_deltas = None  # cached state, stale from the dialogue before
    return model.generate(
        **inputs,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=GREEDY.max_tokens,
        do_sample=False,
        suppress_tokens=np.flatnonzero(decoding.banned_tokens(config)).tolist(),
        eos_token_id=list(config.eos_token_id),
        pad_token_id=config.pad_token_id,
    )[0].tolist()


def test_the_models_differ_in_ties_and_in_heads_to_a_key_value_head():
    texts = [random_config(seed).text for seed in SEEDS]
    assert [(text.num_heads // text.num_kv_heads, text.tie_embeddings) for text in texts] == [
        (2, False),
        (3, True),
        (1, False),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_three_turns_with_images_in_each_equal_generate(seed, request, make_world, tmp_path):
    worlds = [request.getfixturevalue(name) for name in ("plain", "shared")]
    if seed != SEEDS[0]:
        shapes = worlds[0].shapes
        worlds = [make_world(dataclasses.replace(shapes, least_read=shapes.cache), seed)]
    plans = _plans(worlds[0].config)
    generated = _generated(worlds[0].config, worlds[0].params, plans, tmp_path)
    for world in worlds:
        transcripts = roll_out(world.scheduler(), plans)
        assert [transcript.tokens for transcript in transcripts] == generated
