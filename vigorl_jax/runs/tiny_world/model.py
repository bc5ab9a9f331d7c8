"""The tiny model family: its configuration, first weights and files, in the layout that transformers loads."""

import os

import jax
import jax.numpy as jnp
import numpy as np

from vigorl_jax.processing.model_files import write_processor_files, write_tokenizer_files
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.qwen25vl import weights
from vigorl_jax.qwen25vl.config import Config, TextConfig, VisionConfig
from vigorl_jax.qwen25vl.model import Params, abstract_params
from vigorl_jax.runs.tiny_world import lexicon
from vigorl_jax.tasks.glyph_levels import LEVEL_1, Level

# Gains over 1 / sqrt(inputs). Small residual branches and image tokens let the tower be read within 200 steps.
_RESIDUAL, _MERGER, _EMBEDDING = 0.1, 0.2, 0.1


def tokenizer() -> Tokenizer:
    """The tokenizer of the family."""
    return Tokenizer(lexicon.tokenizer())


def image_settings(level: Level = LEVEL_1) -> ImageSettings:
    """Images at most as large as the level's overview, in which no letter can be read."""
    width, height = level.overview
    return ImageSettings(min_pixels=56 * 56, max_pixels=width * height)


def config(
    text_tokenizer: Tokenizer | None = None,
    *,
    width: int = 96,
    layers: int = 3,
    vision_width: int = 64,
    vision_depth: int = 2,
) -> Config:
    """A model with every part of the architecture; 0.55 M parameters by default.

    Args:
      text_tokenizer: Whose tokens it takes; by default those of the family.
      width: Of the language model, a multiple of 96.
      layers: Of the language model.
      vision_width: Of the tower, a multiple of 64.
      vision_depth: Blocks of the tower; the last attends to the whole image.
    """
    text_tokenizer = text_tokenizer or tokenizer()
    control = text_tokenizer.control
    heads = width // 24
    return Config(
        vision=VisionConfig(
            depth=vision_depth,
            width=vision_width,
            mlp_width=vision_width * 8 // 3,
            num_heads=vision_width // 16,
            patch_size=14,
            temporal_patch_size=2,
            in_channels=3,
            spatial_merge_size=2,
            window_size=112,
            full_attention_blocks=(vision_depth - 1,),
            out_width=width,
        ),
        text=TextConfig(
            vocab_size=-(-text_tokenizer.vocab_size // 32) * 32,
            width=width,
            mlp_width=width * 11 // 4,
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=heads // 2,
            head_dim=24,
            norm_eps=1e-6,
            rope_theta=1e6,
            mrope_section=(3, 4, 5),
            tie_embeddings=True,
            max_positions=4096,
        ),
        image_token_id=control.image_pad,
        video_token_id=control.video_pad,
        vision_start_token_id=control.vision_start,
        vision_end_token_id=control.vision_end,
        bos_token_id=control.end_of_text,
        eos_token_id=(control.im_end,),
        pad_token_id=control.end_of_text,
    )


def first_params(model_config: Config, seed: int) -> Params:
    """Random weights from which the tiny world is learned; float32."""
    leaves, tree = jax.tree.flatten_with_path(abstract_params(model_config, jnp.float32))
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        names = [part.key for part in path]
        match names[-1]:
            case "scale":
                values = np.ones(leaf.shape)
            case "bias":
                values = np.zeros(leaf.shape)
            case "embedding":
                values = _EMBEDDING * rng.normal(size=leaf.shape)
            case "kernel":
                values = _gain(names) * rng.normal(size=leaf.shape) / np.sqrt(leaf.shape[0])
        return jnp.asarray(values, leaf.dtype)

    return jax.tree.unflatten(tree, [draw(path, leaf) for path, leaf in leaves])


def _gain(names: list[str]) -> float:
    if names[-2] in ("o", "proj", "down"):
        return _RESIDUAL
    return _MERGER if names[-2] == "fc2" else 1.0


def write_files(
    model_dir: str | os.PathLike[str], model_config: Config, params: Params, images: ImageSettings
) -> None:
    """Writes a complete model directory: weights, tokenizer, chat template and image settings."""
    weights.save(model_dir, model_config, params)
    write_tokenizer_files(model_dir, lexicon.tokenizer(), max_length=model_config.text.max_positions)
    write_processor_files(model_dir, images)
