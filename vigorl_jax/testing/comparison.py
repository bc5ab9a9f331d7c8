"""Our network beside the PyTorch model on the same inputs, stage by stage."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.inputs import TextInputs, text_inputs
from vigorl_jax.qwen25vl.model import Params, bind
from vigorl_jax.qwen25vl.patch_layout import PADDING, Grid, PatchLayout, patch_layout
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.testing.reference import Reference

Row = tuple[np.ndarray, Sequence[Grid]]  # token ids of a dialogue, grids of its images in order


@dataclasses.dataclass(frozen=True)
class Difference:
    """Largest absolute difference of two arrays, and its ratio to the largest value of the reference."""

    max_absolute: float
    max_relative: float

    @classmethod
    def of(cls, ours: np.ndarray, reference: np.ndarray) -> "Difference":
        """The difference of arrays of one shape; shapes are not broadcast."""
        if ours.shape != reference.shape:
            raise ValueError(f"ours has shape {ours.shape}, the reference {reference.shape}")
        absolute = float(np.abs(ours - reference).max())
        return cls(absolute, absolute / float(np.abs(reference).max()))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Differences of every stage and of the logits, and our own arrays.

    Attributes:
      stages: by the name of the PyTorch module, in the order of computation; padding left out.
      logits: of all tokens of all rows; padding left out.
      positions_equal: whether the M-RoPE ids are the same.
      inputs: our right-padded rows.
      image_embeds: our embeddings of the merged patches of all images, in Hugging Face order.
      our_logits: [B, L, V].
    """

    stages: dict[str, Difference]
    logits: Difference
    positions_equal: bool
    inputs: TextInputs
    image_embeds: np.ndarray
    our_logits: np.ndarray

    @property
    def worst_relative_stage(self) -> float:
        """The largest relative difference among the stages."""
        return max(difference.max_relative for difference in self.stages.values())


@functools.partial(jax.jit, static_argnames="config")
def forward_with_stages(params: Params, config: Config, *arrays, images: PatchBatch | None):
    """(logits, {stage name: value}) of the model; arrays are tokens, positions and image_slots."""
    stages: dict[str, jax.Array] = {}
    logits = bind(config, params)(*arrays, images, stages.__setitem__)
    return logits, stages


def compare(
    config: Config, params: Params, reference: Reference, rows: Sequence[Row], patches: np.ndarray
) -> Comparison:
    """Runs both models on the rows; patches [P, pixels] are those of all images, row after row."""
    grids = [grid for _, row_grids in rows for grid in row_grids]
    layout = patch_layout(grids, config.vision) if grids else None
    inputs = text_inputs(rows, config, layout)
    arrays = [jnp.asarray(x) for x in (inputs.tokens, inputs.positions, inputs.image_slots)]
    images = PatchBatch.from_layout(pad_patches(patches, layout), layout) if grids else None
    logits, stages = forward_with_stages(params, config, *arrays, images=images)
    ours = {name: _without_padding(name, _host(value), inputs, layout) for name, value in stages.items()}
    theirs = reference(inputs.tokens, inputs.lengths, patches, grids)
    filled = _filled(inputs)
    # PyTorch's order, that of computation: a jitted function returns its dict sorted.
    return Comparison(
        stages={
            name: Difference.of(ours[name], _reference_stage(value, filled))
            for name, value in theirs.stages.items()
        },
        logits=Difference.of(_host(logits)[filled], theirs.logits[filled]),
        positions_equal=bool((theirs.positions == inputs.positions)[:, filled].all()),
        inputs=inputs,
        image_embeds=ours.get("visual.merger", np.zeros((0, config.text.width), np.float32)),
        our_logits=_host(logits),
    )


def pad_patches(patches: np.ndarray, layout: PatchLayout) -> jax.Array:
    """Patches [P, pixels] padded with zeros to the size of the layout's bucket."""
    return jnp.asarray(np.pad(patches, ((0, layout.source.size - len(patches)), (0, 0))))


def random_patches(rng: np.random.Generator, rows: Sequence[Row], config: Config) -> np.ndarray:
    """Standard normal pixels for the images of the rows."""
    count = sum(height * width for _, grids in rows for _, height, width in grids)
    return rng.normal(size=(count, config.vision.patch_values)).astype(np.float32)


def _host(value: jax.Array) -> np.ndarray:
    return np.asarray(value, np.float32)


def _filled(inputs: TextInputs) -> np.ndarray:
    return np.arange(inputs.tokens.shape[1]) < inputs.lengths[:, None]


def _reference_stage(value: np.ndarray, filled: np.ndarray) -> np.ndarray:
    return value[filled] if value.ndim == 3 else value


def _without_padding(
    name: str, value: np.ndarray, inputs: TextInputs, layout: PatchLayout | None
) -> np.ndarray:
    if name.startswith("language_model"):
        return value[_filled(inputs)]
    if name == "visual.merger":
        return value[np.concatenate(layout.token_slots)]
    slots = np.flatnonzero(layout.source.ravel() != PADDING)
    in_patch_order = slots[np.argsort(layout.source.ravel()[slots])]
    return value.reshape(-1, value.shape[-1])[in_patch_order]
