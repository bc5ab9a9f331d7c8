"""The plan's bytes are those of the released models and, within a band, those that XLA reports."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType

from vigorl_jax.qwen25vl import sharding
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import abstract_params
from vigorl_jax.qwen25vl.patch_layout import patch_layout
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.sampling import memory
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.sampler import Pieces, Sampler
from vigorl_jax.sampling.shapes import Shapes
from vigorl_jax.sampling.slots import Turns, empty_slots
from vigorl_jax.sampling.stops import StopTable
from vigorl_jax.testing.models import random_config

GIB = 1 << 30
RANDOM = random_config(7)
SMALL = dataclasses.replace(
    RANDOM,
    text=dataclasses.replace(
        RANDOM.text, vocab_size=4000, width=256, mlp_width=768, num_layers=2, num_heads=8, num_kv_heads=4,
        head_dim=32, mrope_section=(4, 6, 6),
    ),
    vision=dataclasses.replace(
        RANDOM.vision, depth=2, width=128, mlp_width=256, num_heads=4, window_size=112, full_attention_blocks=(1,),
        out_width=256,
    ),
)  # fmt: skip
SHAPES = Shapes(
    slots=8, cache=512, prompt_lengths=(64, 256), extend_lengths=(128,), image_tokens=512, chunk=8
)


def released(size: str) -> Config:
    """The published sizes of Qwen2.5-VL 3B and 7B."""
    width, mlp_width, layers, heads, kv_heads, vocabulary = {
        "3B": (2048, 11008, 36, 16, 2, 151936),
        "7B": (3584, 18944, 28, 28, 4, 152064),
    }[size]
    return Config.from_hf(
        {
            "model_type": "qwen2_5_vl",
            "vocab_size": vocabulary,
            "hidden_size": width,
            "intermediate_size": mlp_width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "tie_word_embeddings": size == "3B",
            "vision_config": {"hidden_size": 1280, "out_hidden_size": width},
        }
    )


def mesh(data: int, fsdp: int, tensor: int) -> AbstractMesh:
    return AbstractMesh((data, fsdp, tensor), sharding.MESH_AXES, axis_types=(AxisType.Auto,) * 3)


def sizes(plan: memory.MemoryPlan) -> dict[str, int]:
    return {part.name: part.size for part in (*plan.kept, *plan.steps)}


def small_plan(shapes=SHAPES, **kwargs) -> memory.MemoryPlan:
    return memory.plan(SMALL, shapes, **{"dtype": jnp.float32, "device_bytes": GIB, **kwargs})


@pytest.mark.parametrize(("size", "kib"), [("3B", 36), ("7B", 56)])
def test_a_token_of_the_released_models_takes_36_and_56_kib_of_cache(size, kib):
    assert memory.cache_bytes_per_token(released(size).text, jnp.bfloat16) == kib * 1024


def test_the_3b_model_at_64_slots_of_4096_tokens():
    """7.51 GB of weights; 64 x 4,096 tokens of 36 KiB are 9 GiB."""
    shapes = Shapes(slots=64, cache=4096, prompt_lengths=(1024,), extend_lengths=(), image_tokens=1000)
    plan = memory.plan(released("3B"), shapes, dtype=jnp.bfloat16, device_bytes=80 * GIB, group_size=8)
    parts = sizes(plan)
    assert parts["weights"] == pytest.approx(7.51e9, rel=1e-3)
    assert parts["cache"] == 9 * GIB
    assert parts["prompts read"] == 8 * (1024 * 36 * 1024 + 151936 * 4)
    assert parts["image embeddings"] == 1000 * 2048 * 2
    assert plan.fits


def test_what_is_kept_is_what_the_sampler_allocates():
    for shapes in (SHAPES, dataclasses.replace(SHAPES, prefixes=3, group=2)):
        parts = sizes(small_plan(shapes))
        slots = jax.eval_shape(lambda shapes=shapes: empty_slots(SMALL.text, shapes, jnp.float32))
        assert parts["cache"] == _bytes(slots.cache)
        assert parts.get("shared prompts", 0) == _bytes(slots.prefixes)
        params = abstract_params(SMALL)
        assert parts["weights"] == _bytes(params)
        prepared = jax.eval_shape(Sampler(SMALL, shapes).prepare, params)
        text = {name: tree for name, tree in prepared.items() if name != "visual"}
        kernels = [
            leaf for path, leaf in jax.tree_util.tree_leaves_with_path(text) if path[-1].key == "kernel"
        ]
        assert parts["turned kernels"] == _bytes(kernels)


@pytest.mark.parametrize(
    ("shapes", "steps"),
    [
        (SHAPES, ("prefill", "extend", "decode")),
        (dataclasses.replace(SHAPES, prefixes=2, group=4, cache=1024), ("extend",)),
    ],
    ids=("own prompts", "shared prompts"),
)
def test_steps_take_what_xla_reports_within_a_band(shapes, steps):
    planned, lowered = sizes(small_plan(shapes)), _lowered_steps(shapes)
    for name in steps:
        analysis = lowered[name]().compile().memory_analysis()
        assert 0.6 < planned[name] / analysis.temp_size_in_bytes < 1.6, name


def test_the_vision_tower_takes_what_xla_reports_within_a_band():
    grid, shapes = (1, 32, 32), dataclasses.replace(SHAPES, slots=2)
    planned = sizes(small_plan(shapes, prompt_images=[grid]))["vision tower"]
    layout = patch_layout([grid] * 2, SMALL.vision)
    patches = _array(layout.source.size, SMALL.vision.patch_values, dtype=jnp.float32)
    arrays = (layout.source, layout.coordinates, layout.windows, layout.images)
    batch = PatchBatch(patches, *(_array(*x.shape) for x in arrays))
    store = ImageStore(SMALL, shapes, None, jnp.float32)
    target = _array(layout.source.size // 4)
    encode = store._encode.func.lower(
        abstract_params(SMALL), store.embeds, batch, target, **store._encode.keywords
    )
    compiled = encode.compile()
    reported = compiled.memory_analysis().temp_size_in_bytes + _bytes(patches)
    assert 0.7 < planned / reported < 1.4


def test_devices_divide_weights_rows_and_heads():
    one, parts = sizes(small_plan()), sizes(small_plan(mesh=mesh(1, 2, 2)))
    assert parts["cache"] * 4 == one["cache"]  # 8 rows over fsdp, 4 key-value heads over tensor
    assert 1 / 4 <= parts["weights"] / one["weights"] < 0.27  # norms stay whole
    assert (
        sizes(small_plan(mesh=mesh(3, 1, 8)))["cache"] == one["cache"]
    )  # neither 3 divides 8 nor 8 divides 4


def test_accelerators_hold_kernels_once_and_encode_all_images_together(monkeypatch):
    many = {"prompt_images": [(1, 32, 32)], "dtype": jnp.float32, "device_bytes": GIB}
    on_cpu = memory.plan(SMALL, SHAPES, **many)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    plan = memory.plan(SMALL, SHAPES, **many)
    assert "turned kernels" not in sizes(plan)
    assert plan.steps[0].terms == "8 images x 1,024 patch slots"
    assert on_cpu.steps[0].terms == "4 images x 1,024 patch slots"


def test_weights_spread_over_fsdp_are_what_xla_holds_on_a_device():
    devices = sharding.make_mesh(1, 4, 2)
    shapes = dataclasses.replace(SHAPES, extend_lengths=())
    planned = sizes(small_plan(shapes, mesh=devices))
    params = jax.tree.map(
        lambda leaf, held: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=held),
        abstract_params(SMALL),
        sharding.param_shardings(SMALL, devices),
    )
    prefill = _lowered_steps(shapes, params=params, rows=sharding.batch_sharding(devices))["prefill"]
    analysis = prefill().compile().memory_analysis()
    del params["visual"]  # which a prefill does not read
    held = sum(math.prod(x.sharding.shard_shape(x.shape)) * 4 for x in jax.tree.leaves(params))
    assert planned["weights"] > held
    assert analysis.argument_size_in_bytes == pytest.approx(held + 512 * 256 * 4, rel=0.05)
    assert 0.6 < planned["prefill"] / analysis.temp_size_in_bytes < 1.6


def test_a_plan_that_does_not_fit_says_so_in_numbers():
    small_plan().check()
    plan = small_plan(device_bytes=64 << 20, held_bytes=16 << 20)
    assert not plan.fits
    assert plan.needed == sum(part.size for part in plan.kept) + max(part.size for part in plan.steps)
    with pytest.raises(
        memory.DoesNotFit, match=r"8 slots of 512 tokens do not fit; in GiB a device:\n"
    ) as error:
        plan.check()
    lines = dict(line.split(maxsplit=1) for line in str(error.value).splitlines()[1:] if "step" not in line)
    assert lines["cache"] == "0.008  8 slots x 512 tokens x 2 KiB"
    assert lines["usable"] == "0.056  90% of 0.062"
    assert lines["held"] == "by others        0.016  as given"
    assert lines["missing"].startswith(f"{(plan.needed - int(0.9 * (64 << 20))) / GIB:.3f}  take fewer slots")


def test_the_largest_plan_fits_and_one_more_slot_does_not():
    kwargs = {"dtype": jnp.float32, "device_bytes": 256 << 20, "group_size": 4}
    many = dataclasses.replace(SHAPES, slots=1000)
    chosen = memory.largest_plan(SMALL, many, **kwargs)
    assert chosen.fits
    one_more = dataclasses.replace(SHAPES, slots=chosen.shapes.slots + 1)
    assert not memory.plan(SMALL, one_more, **kwargs).fits
    assert memory.largest_plan(SMALL, SHAPES, **{**kwargs, "device_bytes": 16 * GIB}).shapes.slots == 8
    rows_on_four = memory.largest_plan(SMALL, many, mesh=mesh(2, 2, 1), **kwargs).shapes.slots
    assert rows_on_four % 4 == 0
    assert rows_on_four > 2 * chosen.shapes.slots
    with pytest.raises(memory.DoesNotFit, match="1 slots of 512 tokens do not fit"):
        memory.largest_plan(SMALL, many, **{**kwargs, "device_bytes": 1 << 20})


def test_images_and_seen_tokens_are_counted():
    penalised = small_plan(dataclasses.replace(SHAPES, repetition_penalty=True))
    assert sizes(penalised)["vocabulary tables"] - sizes(small_plan())["vocabulary tables"] == 8 * 4000
    assert sizes(small_plan())["vision tower"] == 0
    by_prompt = small_plan(group_size=8, prompt_images=[(1, 16, 16), (1, 32, 32)])
    by_row = small_plan(group_size=8, prompt_images=[(1, 16, 16)], extend_images=[(1, 32, 32)])
    assert by_prompt.steps[0].terms == "1 images x 1,024 patch slots"
    assert by_row.steps[0].terms == "4 images x 1,024 patch slots"  # the most that a CPU encodes at once


def test_device_memory_is_what_the_device_reports_or_a_part_of_the_host():
    class Accelerator:
        platform = "gpu"

        def memory_stats(self):
            return {"bytes_limit": 60 * GIB, "bytes_in_use": GIB}

    assert memory.device_bytes(Accelerator()) == 60 * GIB
    with open("/proc/meminfo") as file:
        host = int(file.readline().split()[1]) * 1024
    assert memory.device_bytes() == pytest.approx(host / jax.local_device_count("cpu"), rel=0.01)


def _lowered_steps(shapes: Shapes, params=None, rows=None) -> dict[str, Callable[[], jax.stages.Lowered]]:
    """Each step at its largest shape, not lowered before it is called."""
    sampler = Sampler(SMALL, shapes, mesh=rows and rows.mesh)
    n, read = shapes.slots, shapes.reads[-1]
    params = params or jax.eval_shape(sampler.prepare, abstract_params(SMALL))
    embeds = _array(shapes.image_tokens, SMALL.text.width, dtype=jnp.float32)
    slots = jax.eval_shape(lambda: empty_slots(SMALL.text, shapes, jnp.float32))
    turns = Turns(_array(n), _array(n, 5, dtype=jnp.uint32), _array(n), _array(n), slots.rows.settings)
    table = StopTable(_array(64, SMALL.text.vocab_size, dtype=jnp.int8), _array(64, dtype=jnp.bool_))
    shared = (_array(shapes.prefixes, shapes.group), _array(n)) if shapes.prefixes else (None, None)
    prompts, given = (
        _pieces(n, lengths[-1], rows) for lengths in (shapes.prompt_lengths, SHAPES.extend_lengths)
    )
    return {
        "prefill": lambda: sampler.prefill.lower(params, embeds, prompts),
        "extend": lambda: sampler.extend.lower(params, embeds, slots, given, turns, table, read=read),
        "decode": lambda: sampler.decode.lower(params, slots, *shared, table, _array(), _array(), read=read),
    }


def _pieces(rows: int, length: int, held=None) -> Pieces:
    spread = held and jax.sharding.NamedSharding(held.mesh, jax.sharding.PartitionSpec(None, *held.spec))
    return Pieces(
        _array(rows, length, held=held),
        _array(3, rows, length, held=spread),
        _array(rows, length, held=held),
        _array(rows, held=held),
    )


def _array(*shape: int, dtype=jnp.int32, held=None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=held)


def _bytes(tree) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
