"""Three steps of supervised learning are those of transformers' model with PyTorch's AdamW."""

import jax
import numpy as np
import pytest
import torch

from vigorl_jax.processing.patches import normalise, pack_patches
from vigorl_jax.qwen25vl import weights
from vigorl_jax.testing.models import random_params
from vigorl_jax.testing.reference import Reference
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training.batch import collate
from vigorl_jax.training.image_table import ImageTable
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.optimiser import OptimiserSettings

pytestmark = pytest.mark.usefixtures("quick_compiles")

STEPS = 3
# The smaller eps, the more Adam magnifies the rounding of gradients near 0: by learning_rate / eps.
ADAM = OptimiserSettings(learning_rate=1e-3, eps=1e-4, weight_decay=0.1, schedule="linear", total_steps=5)


def torch_training(model_dir, episodes, is_frozen):
    """Losses of the steps; trains the PyTorch model in `model_dir` and writes it back."""
    model = Reference(model_dir).model
    model.requires_grad_(True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not is_frozen(name))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=ADAM.learning_rate, eps=ADAM.eps, weight_decay=ADAM.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 5)
    losses = []
    for _ in range(STEPS):
        total, tokens = 0.0, 0
        for episode in episodes:
            views = [view.patches for view in episode.views]
            ids = torch.tensor(episode.token_ids, dtype=torch.long)[None]
            count = sum(view.count for view in views)
            logits = model(
                input_ids=ids,
                mm_token_type_ids=(ids == model.config.image_token_id).int(),
                pixel_values=torch.tensor(np.asarray(normalise(pack_patches(views), IMAGE_SETTINGS)))[:count],
                image_grid_thw=torch.tensor([view.grids[0] for view in views]),
                use_cache=False,
            ).logits
            model.model.rope_deltas = None
            places = np.flatnonzero(episode.mask)
            total += torch.nn.functional.cross_entropy(logits[0, places - 1], ids[0, places], reduction="sum")
            tokens += len(places)
        optimizer.zero_grad()
        (total / tokens).backward()
        torch.nn.utils.clip_grad_norm_(trained, ADAM.max_grad_norm)
        optimizer.step()
        schedule.step()
        losses.append(total.item() / tokens)
    model.save_pretrained(model_dir)
    return losses


@pytest.mark.parametrize(
    ("frozen", "is_frozen"),
    [("vision", lambda name: "visual" in name), ("nothing", lambda name: False)],
    ids=["vision frozen", "nothing frozen"],
)
def test_parameters_follow_those_of_pytorch(frozen, is_frozen, make_episode, shallow_config, tmp_path):
    episodes = [make_episode(0, [4]), make_episode(1, [3, 5]), make_episode(2, [6])]
    params = random_params(shallow_config, 0)
    weights.save(tmp_path, shallow_config, params)
    expected_losses = torch_training(tmp_path, episodes, is_frozen)
    _, expected = weights.load(tmp_path)

    learner = Learner(shallow_config, LearnerSettings(ADAM, frozen=frozen))
    images, state, losses = ImageTable(episodes, shallow_config), learner.init(params), []
    for _ in range(STEPS):
        state, metrics = learner.update(
            state, collate(episodes, images, shallow_config), images.patch_batch(IMAGE_SETTINGS)
        )
        losses.append(metrics["loss"])
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), learner.params(state), expected)
