"""Tiny and random configurations with random weights of every parameter."""

import dataclasses
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from vigorl_jax.processing.model_files import write_processor_files, write_tokenizer_files
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.qwen25vl import weights
from vigorl_jax.qwen25vl.config import Config, TextConfig, VisionConfig
from vigorl_jax.qwen25vl.model import Params, abstract_params
from vigorl_jax.qwen25vl.patch_layout import Grid
from vigorl_jax.runs.tiny_world import model as tiny_world
from vigorl_jax.testing.byte_tokenizer import byte_tokenizer

# Up to 16 x 16 merged patches: a photograph takes seconds on a laptop.
TINY_IMAGES = ImageSettings(min_pixels=56 * 56, max_pixels=448 * 448)
# Ids of the marker tokens of `random_config`, at the end of its vocabulary.
RANDOM_VOCABULARY, TEXT_TOKENS = 320, 300


def tiny_config() -> Config:
    """0.5 M parameters with every part of the architecture, for the vocabulary of the byte tokenizer."""
    tokenizer = Tokenizer(byte_tokenizer())
    config = tiny_world.config(tokenizer)
    # Exactly its size: tests count on ids up to the last being tokens.
    return dataclasses.replace(config, text=dataclasses.replace(config.text, vocab_size=tokenizer.vocab_size))


def write_tiny_model(model_dir: str | os.PathLike[str], seed: int = 0) -> None:
    """Writes a complete model directory of `tiny_config` with random weights: transformers loads it too."""
    directory = pathlib.Path(model_dir)
    config = tiny_config()
    weights.save(directory, config, random_params(config, seed))
    write_tokenizer_files(directory, byte_tokenizer())
    write_processor_files(directory, TINY_IMAGES)


def random_config(seed: int) -> Config:
    """A small model with everything that a config can vary drawn at random: depths, widths, heads, windows, ties."""
    rng = np.random.default_rng(seed)
    merge_window = int(rng.choice([1, 2, 3, 4]))
    vision_heads = int(rng.choice([1, 2, 4]))
    vision_depth = int(rng.integers(2, 5))
    kv_heads = int(rng.choice([1, 2]))
    heads = kv_heads * int(rng.choice([1, 2, 3]))
    half_head = int(rng.choice([4, 6, 8]))
    time = int(rng.integers(1, half_head - 1))
    height = int(rng.integers(1, half_head - time))
    width = heads * 2 * half_head
    return Config(
        vision=VisionConfig(
            depth=vision_depth,
            width=vision_heads * int(rng.choice([8, 12, 16])),
            mlp_width=int(rng.integers(16, 64)),
            num_heads=vision_heads,
            patch_size=14,
            temporal_patch_size=2,
            in_channels=3,
            spatial_merge_size=2,
            window_size=28 * merge_window,
            full_attention_blocks=tuple(
                sorted(
                    int(i)
                    for i in rng.choice(vision_depth, int(rng.integers(0, vision_depth)), replace=False)
                )
            ),
            out_width=width,
        ),
        text=TextConfig(
            vocab_size=RANDOM_VOCABULARY,
            width=width,
            mlp_width=int(rng.integers(16, 96)),
            num_layers=int(rng.integers(1, 4)),
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=2 * half_head,
            norm_eps=1e-6,
            rope_theta=float(rng.choice([1e4, 1e6])),
            mrope_section=(time, height, half_head - time - height),
            tie_embeddings=bool(rng.integers(2)),
            max_positions=4096,
        ),
        image_token_id=TEXT_TOKENS,
        video_token_id=TEXT_TOKENS + 1,
        vision_start_token_id=TEXT_TOKENS + 2,
        vision_end_token_id=TEXT_TOKENS + 3,
        bos_token_id=TEXT_TOKENS + 4,
        eos_token_id=(TEXT_TOKENS + 5,),
        pad_token_id=TEXT_TOKENS + 6,
    )


def random_params(config: Config, seed: int, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random values for every parameter, biases and norms included; activations and logits stay near one."""
    leaves, tree = jax.tree.flatten_with_path(abstract_params(config, dtype))
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        noise = rng.normal(size=leaf.shape)
        match path[-1].key:
            case "scale":
                values = 1 + 0.1 * noise
            case "bias":
                values = 0.1 * noise
            case "embedding":
                values = noise / np.sqrt(leaf.shape[1])
            case "kernel":
                values = noise / np.sqrt(leaf.shape[0])
        return jnp.asarray(values, leaf.dtype)

    return jax.tree.unflatten(tree, [draw(path, leaf) for path, leaf in leaves])


def random_dialogue(rng: np.random.Generator, config: Config, grids: list[Grid]) -> np.ndarray:
    """Token ids with the images at random places among random text: before, between or behind it."""
    pieces = []
    for _, height, width in grids:
        pieces.append(rng.integers(0, TEXT_TOKENS, rng.integers(0, 6)))
        tokens = height * width // config.vision.spatial_merge_size**2
        pieces.append(
            [config.vision_start_token_id, *[config.image_token_id] * tokens, config.vision_end_token_id]
        )
    pieces.append(rng.integers(0, TEXT_TOKENS, rng.integers(0 if grids else 3, 6)))
    return np.concatenate(pieces).astype(np.int32)
