"""The network's forward pass beside transformers on PyTorch, and window attention beside its masked form."""

import dataclasses
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import timing
from vigorl_jax.qwen25vl import flops, weights
from vigorl_jax.qwen25vl.attention import attention
from vigorl_jax.qwen25vl.config import Config, TextConfig, VisionConfig
from vigorl_jax.qwen25vl.inputs import text_inputs
from vigorl_jax.qwen25vl.model import bind
from vigorl_jax.qwen25vl.patch_layout import patch_layout
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.testing import comparison
from vigorl_jax.testing.models import random_params
from vigorl_jax.testing.reference import Reference

GRID = (1, 32, 32)  # 448 x 448 pixels
TEXT_TOKENS = 256
LARGE_GRID = (1, 64, 64)
REPETITIONS = 15

# 65.65 M parameters.
CONFIG = Config(
    vision=VisionConfig(8, 384, 1024, 6, 14, 2, 3, 2, 112, (3, 7), 512),
    text=TextConfig(32_000, 512, 2048, 8, 8, 4, 64, 1e-6, 1e6, (8, 12, 12), True, 4096),
    image_token_id=31_990,
    video_token_id=31_991,
    vision_start_token_id=31_992,
    vision_end_token_id=31_993,
    bos_token_id=31_994,
    eos_token_id=(31_995,),
    pad_token_id=31_996,
)


def run() -> dict:
    """All measurements of the suite, in one run."""
    peak = timing.matmul_peak()
    return {
        "machine": timing.machine(),
        "matmul_gflops": peak / 1e9,
        "forward": _forward(peak),
        "window_attention": _window_attention(),
        "compilations": _compilations(),
        "numerics": _numerics(),
        "peak_memory_gib": timing.peak_memory_gib(),
    }


def _forward(peak: float) -> dict:
    """Milliseconds of both sides, the ratio, and how far ours is from the floor of FLOPs at the machine's peak."""
    params = random_params(CONFIG, 0)
    ours, peer = _our_sides(params), _peer_sides(params)
    tokens = TEXT_TOKENS + GRID[1] * GRID[2] // 4
    floors = {
        "all_logits": flops.forward_flops(CONFIG, tokens, [GRID], tokens),
        "last_logits": flops.forward_flops(CONFIG, tokens, [GRID], 1),
        "vision": flops.vision_flops(CONFIG.vision, [GRID]),
    }
    rows = {}
    for name, operations in floors.items():
        times = timing.paired({"ours": ours[name], "transformers": peer[name]}, repetitions=REPETITIONS)
        rows[name] = {
            "ours": times["ours"],
            "transformers": times["transformers"],
            "times_as_fast": times["transformers"]["ratio_to_first"],
            "gflop": operations / 1e9,
            "floor_ms": 1e3 * operations / peak,
            "times_the_floor": times["ours"]["median_ms"] * peak / (1e3 * operations),
        }
    return rows


def _dialogue() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = [
        CONFIG.vision_start_token_id,
        *[CONFIG.image_token_id] * (GRID[1] * GRID[2] // 4),
        CONFIG.vision_end_token_id,
    ]
    return np.array([*image, *rng.integers(0, 30_000, TEXT_TOKENS - 2)], np.int32)


def _patches(grid: tuple[int, int, int]) -> np.ndarray:
    shape = (grid[1] * grid[2], CONFIG.vision.patch_values)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _our_sides(params) -> dict:
    layout = patch_layout([GRID], CONFIG.vision)
    images = PatchBatch.from_layout(jnp.asarray(_patches(GRID)), layout)
    inputs = text_inputs([(_dialogue(), [GRID])], CONFIG, layout)
    arrays = [jnp.asarray(x) for x in (inputs.tokens, inputs.positions, inputs.image_slots)]

    @jax.jit
    def all_logits(params, images, *arrays):
        return bind(CONFIG, params)(*arrays, images)

    @jax.jit
    def last_logits(params, images, tokens, positions, image_slots):
        model = bind(CONFIG, params)
        hidden, _ = model.language_model(model.embed(tokens, image_slots, model.visual(images)), positions)
        return model.logits(hidden[:, -1:])

    vision = jax.jit(lambda params, images: bind(CONFIG, params).visual(images))
    return {
        "all_logits": lambda: all_logits(params, images, *arrays).block_until_ready(),
        "last_logits": lambda: last_logits(params, images, *arrays).block_until_ready(),
        "vision": lambda: vision(params, images).block_until_ready(),
    }


def _peer_sides(params) -> dict:
    import torch

    with tempfile.TemporaryDirectory() as folder:
        weights.save(folder, CONFIG, params)
        model = Reference(folder).model
    tokens = torch.tensor(_dialogue()[None], dtype=torch.long)
    patches, grids = torch.tensor(_patches(GRID)), torch.tensor([GRID])
    inputs = {
        "input_ids": tokens,
        "mm_token_type_ids": (tokens == CONFIG.image_token_id).int(),
        "pixel_values": patches,
        "image_grid_thw": grids,
        "use_cache": False,
    }

    def without_gradients(function, **kwargs):
        def call():
            with torch.inference_mode():
                return function(**kwargs)

        return call

    return {
        "all_logits": without_gradients(model, **inputs),
        "last_logits": without_gradients(model, **inputs, logits_to_keep=1),
        "vision": without_gradients(model.model.visual, hidden_states=patches, grid_thw=grids),
    }


def _window_attention() -> dict:
    """One block's attention at a 64 x 64 grid: windows as a batch axis, and one T x T mask of the same windows."""
    config = CONFIG.vision
    layout = patch_layout([LARGE_GRID], config)
    rng = np.random.default_rng(0)
    slots, head_dim = layout.source.size, config.head_dim
    q = jnp.asarray(rng.normal(size=(1, slots, config.num_heads, head_dim)), jnp.float32)
    windows = jnp.asarray(layout.windows)
    # Ids are unique within a tile of 64 slots only; the masked form needs them unique in the image.
    unique = windows + 64 * (jnp.arange(slots) // 64)

    def tiled(q):
        tiles = q.reshape(-1, 64, config.num_heads, head_dim)
        keys, segments = tiles.swapaxes(1, 2), windows.reshape(-1, 64)
        return attention(tiles, keys, keys, query_segments=segments, key_segments=segments).reshape(q.shape)

    def masked(q):
        keys = q.swapaxes(1, 2)
        return attention(q, keys, keys, query_segments=unique, key_segments=unique)

    sides = {name: jax.jit(side) for name, side in (("windows", tiled), ("masked", masked))}
    difference = float(jnp.abs(sides["windows"](q) - sides["masked"](q)).max())
    times = timing.paired(
        {name: lambda side=side: side(q).block_until_ready() for name, side in sides.items()},
        repetitions=REPETITIONS,
    )
    return {**times, "times_as_fast": times["masked"]["ratio_to_first"], "max_difference": difference}


def _numerics() -> dict:
    """Distance of the logits from PyTorch's float64, relative to the largest logit: ours and PyTorch's own."""
    params, rows, patches = random_params(CONFIG, 0), [(_dialogue(), [GRID])], _patches(GRID)
    with tempfile.TemporaryDirectory() as folder:
        weights.save(folder, CONFIG, params)
        exact = Reference(folder, "float64")
        truth = None
        figures = {}
        for dtype in ("float32", "bfloat16"):
            config, cast = weights.load(folder, dtype=dtype)
            ours = comparison.compare(config, cast, exact, rows, patches)
            arguments = (ours.inputs.tokens, ours.inputs.lengths, patches, [GRID])
            truth = exact(*arguments).logits if truth is None else truth
            theirs = comparison.Difference.of(Reference(folder, dtype)(*arguments).logits, truth)
            figures[dtype] = {"ours": ours.logits.max_relative, "transformers": theirs.max_relative}
    return figures


def _compilations() -> dict:
    """Compilations of a small tower over twenty images of different sizes, beside the number of their buckets."""
    config = dataclasses.replace(CONFIG, vision=dataclasses.replace(CONFIG.vision, depth=1))
    params = random_params(config, 0)
    tower = jax.jit(lambda params, images: bind(config, params).visual(images))
    rng, buckets = np.random.default_rng(0), set()
    for _ in range(20):
        grid = (1, *(2 * int(n) for n in rng.integers(1, 24, 2)))
        layout = patch_layout([grid], config.vision)
        patches = np.zeros((layout.source.size, config.vision.patch_values), np.float32)
        tower(params, PatchBatch.from_layout(jnp.asarray(patches), layout))
        buckets.add(layout.bucket)
    return {"images": 20, "buckets": len(buckets), "compilations": tower._cache_size()}
