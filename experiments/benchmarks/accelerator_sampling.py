"""The sampler at the released 3B shape with random bfloat16 weights, beside the peaks of the accelerator it runs on."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import timing
from vigorl_jax.qwen25vl import flops
from vigorl_jax.qwen25vl.config import Config, TextConfig, VisionConfig
from vigorl_jax.qwen25vl.model import init_params
from vigorl_jax.sampling.decoding import settings
from vigorl_jax.sampling.sampler import Pieces, Sampler
from vigorl_jax.sampling.shapes import Shapes
from vigorl_jax.testing.sampling import stop_at

RELEASED_3B = Config(
    vision=VisionConfig(32, 1280, 3420, 16, 14, 2, 3, 2, 112, (7, 15, 23, 31), 2048),
    text=TextConfig(151_936, 2048, 11_008, 36, 16, 2, 128, 1e-6, 1e6, (16, 24, 24), True, 128_000),
    image_token_id=151_655,
    video_token_id=151_656,
    vision_start_token_id=151_652,
    vision_end_token_id=151_653,
    bos_token_id=151_643,
    eos_token_id=(151_645,),
    pad_token_id=151_643,
)
ROWS, CONTEXT, STEPS = 64, 2048, 32
PREFILL_ROWS, PREFILL_TOKENS = 16, 1024
REPETITIONS = 5


def run(config: Config = RELEASED_3B, *, rows: int = ROWS, context: int = CONTEXT) -> dict:
    """Decoding beside the bandwidth that its bytes need, prefill beside the peak of bfloat16 products."""
    params = jax.jit(lambda: init_params(config, jax.random.key(0), jnp.bfloat16))()
    shapes = Shapes(rows, context, (PREFILL_TOKENS,), (), 1, chunk=STEPS)
    sampler = Sampler(config, shapes)
    params = sampler.prepare(params)
    peak, bandwidth = bfloat16_peak(), timing.memory_bandwidth()
    return {
        "bfloat16_tflops": peak / 1e12,
        "memory_gb_per_s": bandwidth / 1e9,
        "decode": _decode(config, params, sampler, rows, context, bandwidth),
        "prefill": _prefill(config, params, sampler, peak),
    }


def _decode(config: Config, params, sampler: Sampler, rows: int, context: int, bandwidth: float) -> dict:
    slots, table = sampler.empty_slots(jnp.bfloat16), stop_at(config)
    full = context - STEPS
    seconds = []
    for _ in range(REPETITIONS + 1):
        state = slots.rows._replace(
            lengths=jnp.full(rows, full),
            active=jnp.ones(rows, bool),
            drawn=jnp.ones(rows, jnp.int32),
            limits=jnp.full(rows, 2 * STEPS),
            settings=jax.tree.map(jnp.asarray, settings(rows)),
        )
        slots = slots._replace(rows=state)
        (slots, decoded), elapsed = timing.elapsed(
            lambda slots=slots: jax.block_until_ready(
                sampler.decode(
                    params, slots, None, None, table, np.int32(STEPS), np.int32(rows), read=context
                )
            )
        )
        seconds.append(elapsed / int(decoded.steps))
    text = config.text
    layers = sum(x.nbytes for x in jax.tree.leaves(params["language_model"]))
    keys_and_values = 2 * text.num_layers * text.num_kv_heads * text.head_dim * 2
    needed = layers + rows * (full + STEPS // 2) * keys_and_values
    step = min(seconds[1:])
    return {
        "rows": rows,
        "context": context,
        "step_ms": 1e3 * step,
        "tokens_per_s": rows / step,
        "gbyte": needed / 1e9,
        "part_of_bandwidth": needed / step / bandwidth,
    }


def _prefill(config: Config, params, sampler: Sampler, peak: float) -> dict:
    shape = (PREFILL_ROWS, PREFILL_TOKENS)
    positions = np.broadcast_to(np.arange(PREFILL_TOKENS, dtype=np.int32), (3, *shape))
    no_images, lengths = np.full(shape, -1, np.int32), np.full(PREFILL_ROWS, PREFILL_TOKENS, np.int32)
    prompts = Pieces(np.ones(shape, np.int32), positions, no_images, lengths)
    embeds = jnp.zeros((1, config.text.width), jnp.bfloat16)

    def call() -> None:
        jax.block_until_ready(sampler.prefill(params, embeds, prompts))

    call()
    step = min(timing.elapsed(call)[1] for _ in range(REPETITIONS))
    operations = PREFILL_ROWS * (
        flops.text_flops(config.text, PREFILL_TOKENS) + flops.logits_flops(config.text, 1)
    )
    return {
        "rows": PREFILL_ROWS,
        "tokens": PREFILL_TOKENS,
        "ms": 1e3 * step,
        "tflop": operations / 1e12,
        "part_of_peak": operations / step / peak,
    }


def bfloat16_peak() -> float:
    """FLOP/s of the best of five products of 8192 x 8192 matrices in bfloat16 on the default device."""
    size = 8192
    a = jnp.ones((size, size), jnp.bfloat16)
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    return (
        2
        * size**3
        / min(timing.elapsed(lambda: product(a).block_until_ready())[1] for _ in range(REPETITIONS))
    )
