"""The memory plan of a sampler: what its declared shapes take on one device, before anything is compiled.

What stays (weights, caches, kept embeddings) is exact. The working memory of a step is estimated from the arrays that
it holds at its widest point, to a factor of 1.6 of what XLA reports.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, Mesh

from vigorl_jax.qwen25vl.attention import CAUSAL_BLOCKS, MIN_CAUSAL_BLOCK, max_scores
from vigorl_jax.qwen25vl.config import Config, TextConfig
from vigorl_jax.qwen25vl.model import abstract_params
from vigorl_jax.qwen25vl.patch_layout import Grid, patch_layout, tile_slots
from vigorl_jax.qwen25vl.sharding import LOGICAL_TO_MESH, MESH_AXES, param_shardings
from vigorl_jax.sampling.call_sizes import images_at_once, rows_at_once
from vigorl_jax.sampling.kernels import is_turned, turns_kernels
from vigorl_jax.sampling.shapes import Shapes
from vigorl_jax.sampling.stops import MIN_STATES

# The rest is left to fragments, compiled code and the runtime.
USABLE_PART = 0.9
FLOAT32 = 4
GIB = 1 << 30
# Scores, their exponentials and the weights that multiply the values.
SCORE_COPIES = 3
# One layer's keys and values of the rows of an extension: as gathered, and with the new ones.
LAYER_COPIES = 2
# Logits, and what a draw makes of them: scores after the penalty, deficits, what the cuts keep.
LOGIT_COPIES = 4
# Residual stream: before and after a layer, normalised, and the float32 of the norm.
RESIDUAL_COPIES = 4
VISION, TEXT = ("visual",), ("language_model", "lm_head")
ONE_DEVICE = AbstractMesh((1, 1, 1), MESH_AXES, axis_types=(AxisType.Auto,) * 3)

AnyMesh = Mesh | AbstractMesh


class DoesNotFit(ValueError):
    """A sampler whose shapes take more than the device has; the message is the table of its plan."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One line of a plan: bytes on one device, and the numbers that they come from."""

    name: str
    size: int
    terms: str


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """What a sampler takes on each device.

    Attributes:
      shapes: the sampler's shapes.
      kept: what is there all the time.
      steps: working memory of each step; one runs at a time, so that only the largest counts.
      device_bytes: memory of a device.
    """

    shapes: Shapes
    kept: tuple[Part, ...]
    steps: tuple[Part, ...]
    device_bytes: int

    @property
    def largest_step(self) -> Part:
        """The step that sets the peak."""
        return max(self.steps, key=lambda part: part.size)

    @property
    def needed(self) -> int:
        """Bytes at the peak: all that is kept, and the largest step."""
        return sum(part.size for part in self.kept) + self.largest_step.size

    @property
    def usable(self) -> int:
        """Bytes of the device that may be planned for."""
        return int(USABLE_PART * self.device_bytes)

    @property
    def fits(self) -> bool:
        """Whether the peak stays within what is usable."""
        return self.needed <= self.usable

    def table(self) -> str:
        """The plan in GiB a device, line by line."""
        lines = [
            *self.kept,
            *(dataclasses.replace(step, name=f"step: {step.name}") for step in self.steps),
            Part("needed", self.needed, f"all that is kept, and the step {self.largest_step.name}"),
            Part("usable", self.usable, f"{USABLE_PART:.0%} of {self.device_bytes / GIB:.3f}"),
        ]
        if not self.fits:
            advice = "take fewer slots, a shorter cache, smaller groups of prompts or more devices"
            lines.append(Part("missing", self.needed - self.usable, advice))
        return "\n".join(f"{line.name:<18}{line.size / GIB:>9.3f}  {line.terms}" for line in lines)

    def check(self) -> None:
        """Passes if the plan fits.

        Raises:
          DoesNotFit: it needs more than is usable.
        """
        if not self.fits:
            shapes = self.shapes
            raise DoesNotFit(
                f"{shapes.slots} slots of {shapes.cache} tokens do not fit; in GiB a device:\n{self.table()}"
            )


def plan(
    config: Config,
    shapes: Shapes,
    *,
    dtype: jnp.dtype,
    device_bytes: int,
    mesh: AnyMesh = ONE_DEVICE,
    group_size: int = 1,
    prompt_images: Sequence[Grid] = (),
    extend_images: Sequence[Grid] = (),
    held_bytes: int = 0,
) -> MemoryPlan:
    """The most that a sampler of these shapes takes on JAX's default backend; `check` it before the first compile.

    Args:
      dtype: of parameters and caches.
      device_bytes: memory of one device; see `device_bytes`.
      mesh: the devices that share the work; they need not be there (`jax.sharding.AbstractMesh`).
      group_size: episodes that begin on one prompt together: slots / group_size prompts are read at once.
      prompt_images, extend_images: grids of the images that a prompt, or what follows a turn, brings in.
      held_bytes: memory of a device that others keep, such as a learner's optimizer state.
    """
    sizes = _Sizes(config, shapes, jnp.dtype(dtype), mesh)
    prompts = math.ceil(shapes.slots / group_size)
    kept = (
        sizes.weights(),
        sizes.turned_kernels(),
        sizes.cache(),
        sizes.shared_prompts(),
        sizes.prompts(prompts),
        sizes.image_embeddings(),
        sizes.vocabulary_tables(),
        Part("held by others", held_bytes, "as given"),
    )
    steps = (
        sizes.vision([(prompts, prompt_images), (shapes.slots, extend_images)]),
        sizes.prefill(prompts),
        sizes.extend(),
        sizes.decode(),
    )
    return MemoryPlan(shapes, tuple(part for part in kept if part.size), steps, device_bytes)


def largest_plan(config: Config, shapes: Shapes, *, mesh: AnyMesh = ONE_DEVICE, **kwargs) -> MemoryPlan:
    """The plan with the most slots that fit: at most `shapes.slots`, and as many on each device that shares rows.

    The other arguments are those of `plan`.

    Raises:
      DoesNotFit: not even the fewest slots fit; the message is the table of their plan.
    """
    unit = _devices("batch", mesh)

    def with_slots(units: int) -> MemoryPlan:
        return plan(config, dataclasses.replace(shapes, slots=units * unit), mesh=mesh, **kwargs)

    fitting, too_many = 1, max(1, shapes.slots // unit) + 1
    with_slots(fitting).check()
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        fitting, too_many = (middle, too_many) if with_slots(middle).fits else (fitting, middle)
    return with_slots(fitting)


def device_bytes(device: jax.Device | None = None) -> int:
    """Memory that JAX may use on a device, the first one by default; of a CPU, its part of the host's memory."""
    device = device or jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return host // jax.local_device_count(device.platform)


def cache_bytes_per_token(config: TextConfig, dtype: jnp.dtype) -> int:
    """Keys and values of one token in all layers: 36 KiB for the 3B model in bfloat16, 56 KiB for 7B."""
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim * jnp.dtype(dtype).itemsize


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """The lines of a plan."""

    config: Config
    shapes: Shapes
    dtype: jnp.dtype
    mesh: AnyMesh

    def weights(self) -> Part:
        numbers = _numbers(self.config, self.mesh, *VISION, *TEXT)
        return Part("weights", numbers * self.dtype.itemsize, f"{numbers:,} numbers of {self.dtype}")

    def turned_kernels(self) -> Part:
        """The second copy of the text kernels that CPUs read."""
        numbers = _turned_numbers(self.config) if turns_kernels(self.mesh) else 0
        return Part("turned kernels", numbers * self.dtype.itemsize, f"{numbers:,} numbers of {self.dtype}")

    def cache(self) -> Part:
        shapes = self.shapes
        rows, tokens = self._share(shapes.slots, "batch"), shapes.cache
        return Part("cache", self._cached(rows * tokens), self._terms(f"{rows} slots x {tokens:,}"))

    def shared_prompts(self) -> Part:
        prompts, tokens = self.shapes.prefixes, self.shapes.prompt_lengths[-1]
        return Part(
            "shared prompts", self._cached(prompts * tokens), self._terms(f"{prompts} prompts x {tokens:,}")
        )

    def prompts(self, prompts: int) -> Part:
        """Prompts that have been read stay until every row that begins on them has its slot."""
        rows = sum(self._share(size, "batch") for _, size in self.shapes.batches(prompts))
        tokens = self.shapes.prompt_lengths[-1]
        size = self._cached(rows * tokens) + rows * self.config.text.vocab_size * FLOAT32
        return Part("prompts read", size, self._terms(f"{rows} prompts x {tokens:,}") + ", and their logits")

    def image_embeddings(self) -> Part:
        tokens, width = self.shapes.image_tokens, self.config.text.width
        return Part("image embeddings", tokens * width * self.dtype.itemsize, f"{tokens:,} tokens x {width}")

    def vocabulary_tables(self) -> Part:
        rows = self.shapes.slots if self.shapes.repetition_penalty else 0
        size = (MIN_STATES + rows) * self.config.text.vocab_size
        return Part("vocabulary tables", size, f"{MIN_STATES} stop states and {rows} rows of seen tokens")

    def vision(self, pieces: Iterable[tuple[int, Sequence[Grid]]]) -> Part:
        """The largest call of the tower for any of (rows, grids of the images of each)."""
        config = self.config.vision
        calls = [(0, 0)]  # (images, patch slots of each)
        for rows, grids in pieces:
            slots = [patch_layout([grid], config).bucket[1] for grid in grids]
            calls += [
                (self._largest_call(rows * slots.count(each), most=images_at_once(each)), each)
                for each in set(slots)
            ]
        images, slots = max(calls, key=math.prod)
        images = self._share(images, "batch")
        heads = self._share(config.num_heads, "vision_heads")
        seen = slots if any(i < config.depth for i in config.full_attention_blocks) else tile_slots(config)
        work = self._layer(
            images * slots,
            width=config.width,
            mlp_width=config.mlp_width,
            heads=4 * heads * config.head_dim,
            scores=_block_scores(images * slots * heads * seen, images * heads * seen),
        )
        pixels = images * slots * config.patch_values * FLOAT32
        work += pixels + self._gathered(*VISION)
        return Part("vision tower", work, f"{images} images x {slots:,} patch slots")

    def prefill(self, prompts: int) -> Part:
        tokens = self.shapes.prompt_lengths[-1]
        rows = self._share(self._largest_call(prompts, most=rows_at_once(tokens)), "batch")
        block = min(tokens, max(MIN_CAUSAL_BLOCK, math.ceil(tokens / CAUSAL_BLOCKS)))
        work = self._text(rows, tokens, keys=tokens, block=block)
        return Part("prefill", work, f"{rows} prompts x {tokens:,} tokens")

    def extend(self) -> Part:
        """Besides the work: one layer of the rows' caches with what is new, before and after it has been put there."""
        shapes = self.shapes
        if not shapes.extend_lengths:
            return Part("extend", 0, "not compiled")
        tokens = shapes.extend_lengths[-1]
        rows = self._share(self._largest_call(shapes.slots, most=rows_at_once(tokens)), "batch")
        keys = shapes.cache + tokens
        prompt = shapes.prompt_lengths[-1] if shapes.prefixes else 0
        copies = LAYER_COPIES * self._cached(rows * (keys + prompt)) // self.config.text.num_layers
        work = self._text(rows, tokens, keys=max(keys, prompt), block=tokens)
        return Part(
            "extend", copies + work, f"{rows} rows x {tokens:,} tokens behind {shapes.cache:,} cached"
        )

    def decode(self) -> Part:
        """Besides the work: the tail. The caches are read and written where they are."""
        shapes = self.shapes
        rows = self._share(shapes.slots, "batch")
        tail = self._cached(rows * shapes.chunk)
        work = self._text(rows, 1, keys=shapes.cache, block=1)
        return Part("decode", tail + work, f"{rows} rows behind {shapes.cache:,} cached tokens")

    def _text(self, rows: int, tokens: int, *, keys: int, block: int) -> int:
        """A pass of the language model over rows x tokens, with the logits of each row's last token."""
        text = self.config.text
        heads = self._share(text.num_heads, "heads")
        kv_heads = self._share(text.num_kv_heads, "kv_heads")
        layer = self._layer(
            rows * tokens,
            width=text.width,
            mlp_width=text.mlp_width,
            heads=2 * (heads + kv_heads) * text.head_dim,
            scores=_block_scores(rows * block * heads * keys, rows * heads * keys),
        )
        return layer + LOGIT_COPIES * rows * text.vocab_size * FLOAT32 + self._gathered(*TEXT)

    def _layer(self, tokens: int, *, width: int, mlp_width: int, heads: int, scores: int) -> int:
        """One layer at its widest: attention or MLP, beside the residual stream.

        heads: channels of queries, keys, values and output together.
        """
        mlp = 3 * tokens * self._share(mlp_width, "mlp") * self.dtype.itemsize
        attention = tokens * heads * self.dtype.itemsize + SCORE_COPIES * scores * FLOAT32
        return RESIDUAL_COPIES * tokens * width * self.dtype.itemsize + max(mlp, attention)

    def _gathered(self, *parts: str) -> int:
        """Weights that are spread over fsdp are brought together; XLA may do so for all layers before the first."""
        if self.mesh.shape.get("fsdp", 1) == 1:
            return 0
        sizes = {**self.mesh.shape, "fsdp": 1}
        whole = AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
        return _numbers(self.config, whole, *parts) * self.dtype.itemsize

    def _cached(self, tokens: int) -> int:
        text = self.config.text
        whole = cache_bytes_per_token(text, self.dtype)
        return tokens * whole // text.num_kv_heads * self._share(text.num_kv_heads, "kv_heads")

    def _terms(self, tokens: str) -> str:
        return f"{tokens} tokens x {self._cached(1) / 1024:g} KiB"

    def _largest_call(self, rows: int, *, most: int | None = None) -> int:
        return max((size for _, size in self.shapes.batches(rows, most=most)), default=0)

    def _share(self, size: int, logical_axis: str) -> int:
        """The part of a dimension on one device; all of it where the devices do not divide it."""
        devices = _devices(logical_axis, self.mesh)
        return size if size % devices else size // devices


def _numbers(config: Config, mesh: AnyMesh, *parts: str) -> int:
    """Parameters on one device, of the named parts of the model."""
    trees = abstract_params(config), param_shardings(config, mesh)
    leaves, shardings = (
        jax.tree.leaves({name: tree[name] for name in tree if name in parts}) for tree in trees
    )
    return sum(
        math.prod(sharding.shard_shape(leaf.shape)) for leaf, sharding in zip(leaves, shardings, strict=True)
    )


def _turned_numbers(config: Config) -> int:
    leaves, _ = jax.tree_util.tree_flatten_with_path(abstract_params(config))
    return sum(math.prod(leaf.shape) for path, leaf in leaves if is_turned(path))


def _devices(logical_axis: str, mesh: AnyMesh) -> int:
    axes = LOGICAL_TO_MESH[logical_axis]
    axes = (axes,) if isinstance(axes, str) else axes
    return math.prod(mesh.shape.get(axis, 1) for axis in axes)


def _block_scores(scores: int, scores_of_a_query: int) -> int:
    """Scores that attention holds at once: it works in blocks of queries, of one query at least."""
    return max(min(scores, max_scores()), scores_of_a_query)
