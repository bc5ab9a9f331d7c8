"""Greedy text equals `transformers.generate` token for token: images, mixed lengths, and images in later turns."""

import numpy as np
import pytest

from vigorl_jax.qwen25vl import weights
from vigorl_jax.sampling import decoding
from vigorl_jax.sampling.requests import Stream, TurnSettings
from vigorl_jax.testing.sampling import Plan, pixels, random_given, roll_out

# Images before turns 1, 2 and 3 of each dialogue.
DIALOGUES = (
    ([(1, 4, 6)], [(1, 4, 4)], [(1, 2, 4), (1, 6, 2)]),
    ([(1, 4, 4), (1, 2, 6), (1, 6, 4)], [], [(1, 4, 4)]),
    ([], [(1, 6, 6)], []),
)
GREEDY = TurnSettings(10, temperature=0.0)


@pytest.fixture(scope="module")
def plans(plain):
    rng = np.random.default_rng(0)
    return [
        Plan(Stream(0, 0, i, 0), tuple(random_given(rng, plain.config, grids) for grids in dialogue), (GREEDY,) * 3)
        for i, dialogue in enumerate(DIALOGUES)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def generated(plain, plans, tmp_path_factory):
    """The dialogues of PyTorch, which reads all of a dialogue again for each turn."""
    from vigorl_jax.testing.reference import Reference

    directory = tmp_path_factory.mktemp("model")
    weights.save(directory, plain.config, plain.params)
    model = Reference(directory).model
    dialogues = []
    for plan in plans:
        tokens, images = [], []
        for given in plan.given:
            tokens.extend(given.tokens.tolist())
            images.extend(given.images)
            tokens = _generate(model, plain.config, tokens, images)
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


@pytest.mark.parametrize("world", ["plain", "shared"])
def test_three_turns_with_images_in_each_equal_generate(world, request, plans, generated):
    transcripts = roll_out(request.getfixturevalue(world).scheduler(), plans)
    assert [transcript.tokens for transcript in transcripts] == generated
