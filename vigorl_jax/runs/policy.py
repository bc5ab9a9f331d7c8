"""A policy for sampling: the model of a directory, and a sampler whose parameters a run may exchange."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from vigorl_jax import rollout
from vigorl_jax.buckets import bucket
from vigorl_jax.processing import chat
from vigorl_jax.processing.chat import ImageSlot
from vigorl_jax.processing.decode import decode_image
from vigorl_jax.processing.frames import round_to_unit
from vigorl_jax.processing.settings import Grid, ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.qwen25vl import weights
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.reasoning import prompts
from vigorl_jax.reasoning.calls import Malformed, MalformedKind
from vigorl_jax.reasoning.dialogue import opening_ids
from vigorl_jax.rollout import Plan
from vigorl_jax.sampling import memory, stops
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.placement import to_sampling
from vigorl_jax.sampling.sampler import Sampler
from vigorl_jax.sampling.scheduler import Scheduler
from vigorl_jax.sampling.seen_images import SeenImages
from vigorl_jax.sampling.shapes import Shapes, shares_prompts
from vigorl_jax.sampling.stops import StopTable
from vigorl_jax.tasks.example import Example

_UNIT = 28
# From here on reading padding takes longer than compiling two further lengths is worth.
_LONG_PROMPT = 512
# Attention over so many tokens is a small part of a decode step, and each length that is read compiles a program.
_LEAST_READ = 256
# Longer than any sentence that `calls` says; digits, because they are a token each.
_LONGEST_REASON = "0" * 160


@dataclasses.dataclass(frozen=True)
class Policy:
    """A model with its parameters, tokenizer and image settings."""

    config: Config
    params: Params
    tokenizer: Tokenizer
    images: ImageSettings


def load(
    model_dir: str,
    *,
    dtype: str | None = None,
    max_pixels: int | None = None,
    shardings: weights.Shardings | None = None,
) -> Policy:
    """Reads a model directory.

    Args:
      model_dir: In Hugging Face layout.
      dtype: Of the parameters; as stored by default.
      max_pixels: Greatest area of an image as the model sees it; the directory's by default.
      shardings: Of the parameters on a mesh; everything on the first device by default.

    Raises:
      ValueError: the directory is no model of this family.
    """
    images, tokenizer = ImageSettings.from_model_dir(model_dir), Tokenizer.load(model_dir)
    if max_pixels is not None:
        least = min(images.min_pixels, max_pixels)
        images = dataclasses.replace(images, min_pixels=least, max_pixels=max_pixels)
    config, params = weights.load(model_dir, dtype=dtype, shardings=shardings)
    return Policy(config, params, tokenizer, images)


def opening_tokens(policy: Policy, plan: Plan, example: Example) -> int:
    """Tokens of the prompt of an example, its images included.

    Raises:
      ImageError: an image that cannot be decoded.
      ValueError: an image that the model cannot see at any size.
    """
    sizes = [decode_image(data, name=f"image of {example.id!r}").shape for data in example.images]
    frames = [policy.images.model_frame(width, height) for height, width, _ in sizes]
    image_tokens = [policy.images.num_tokens(policy.images.grid(frame)) for frame in frames]
    return len(opening_ids(example, image_tokens, policy.tokenizer, plan.rules))


class Desk:
    """Compiled sampling of one model: hands out a scheduler for each set of parameters, compiles once.

    Each scheduler begins with empty slots and no image kept, so that what it samples depends on nothing sampled
    before: a run that was resumed goes on bit for bit.

    Attributes:
      shapes: what is compiled.
    """

    def __init__(
        self,
        policy: Policy,
        plans: Sequence[Plan],
        *,
        prompt_tokens: int,
        slots: int,
        group_size: int = 1,
        least_rows: int = 1,
        dtype: jnp.dtype | None = None,
        mesh: Mesh | None = None,
    ):
        """Plans for episodes of `plans`, whose openings have at most `prompt_tokens`.

        Args:
          policy: the model; its parameters are not kept.
          plans: how episodes may be held.
          prompt_tokens: the longest opening, images included.
          slots: episodes that are decoded together, in this process.
          group_size: episodes of an example.
          least_rows: of a call; see `Shapes`.
          dtype: of the parameters and caches while sampling; by default that of the policy's parameters.
          mesh: of the parameters to come. Each process samples on its own devices of it, all axes but `tensor` apart.

        Raises:
          DoesNotFit: the device has not the memory; the message is the plan.
          ValueError: the mesh cuts a parameter over processes.
        """
        self._local = None if mesh is None else mesh.local_mesh
        _check_tensor(mesh, self._local)
        dtype = jnp.dtype(dtype or jax.tree.leaves(policy.params)[0].dtype)
        self.shapes = _shapes(policy, plans, prompt_tokens, slots, group_size, least_rows)
        _check_memory(policy.config, self.shapes, dtype, plans, prompt_tokens, group_size, self._local)
        self._move = to_sampling(policy.config, mesh, dtype)
        self._sampler = Sampler(
            policy.config, self.shapes, text_tokens=policy.tokenizer.vocab_size, mesh=self._local
        )
        self._images = ImageStore(policy.config, self.shapes, policy.images, dtype, mesh=self._local)
        self._stops = stop_table(policy)
        self._opened = 0

    def open(self, params: Params, seen: SeenImages | None = None) -> Scheduler:
        """A scheduler with these parameters, which are cast and moved where they must be; only one may be in use.

        seen: an empty one, to be given the embeddings of all images that the scheduler meets.
        """
        self._opened += 1
        self._images.at_version(self._opened, seen)
        held = self.to_local(self._move(params))
        return Scheduler(self._sampler, held, self._images, self._stops)

    def to_local(self, params: Params) -> Params:
        """This process's copy of parameters that lie on a mesh of several processes."""
        if jax.process_count() == 1 or self._local is None:
            return params
        return jax.tree.map(self._local_leaf, params)

    def _local_leaf(self, leaf: jax.Array) -> jax.Array:
        sharding = NamedSharding(self._local, leaf.sharding.spec)
        shards = [shard.data for shard in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, shards)


def scheduler(
    policy: Policy, plans: Sequence[Plan], *, prompt_tokens: int, slots: int, group_size: int = 1
) -> Scheduler:
    """A sampler for episodes of these plans, whose openings have at most `prompt_tokens`.

    Raises:
      DoesNotFit: the device has not the memory; the message is the plan.
    """
    desk = Desk(policy, plans, prompt_tokens=prompt_tokens, slots=slots, group_size=group_size)
    return desk.open(policy.params)


def stop_table(policy: Policy) -> StopTable:
    """Stops at the end of a tool call, of an answer, and at <|im_end|> and its like."""
    tokenizer, size = policy.tokenizer, policy.config.text.vocab_size
    ends = {*policy.config.eos_token_id, tokenizer.control.im_end, tokenizer.control.end_of_text}
    strings = [stop.encode() for stop in rollout.STOP_STRINGS]
    return stops.build(
        [_token_bytes(tokenizer, token_id) for token_id in range(tokenizer.vocab_size)],
        strings,
        sorted(ends),
        vocab_size=size,
    )


def _check_tensor(mesh: Mesh | None, local: Mesh | None) -> None:
    if mesh is not None and mesh.shape["tensor"] != local.shape["tensor"]:
        raise ValueError(
            f"a mesh with tensor {mesh.shape['tensor']} over processes of {local.size} devices each: sampling needs "
            "whole rows in each process; choose a tensor axis that divides the devices of one process"
        )


def _check_memory(
    config: Config,
    shapes: Shapes,
    dtype: jnp.dtype,
    plans: Sequence[Plan],
    prompt_tokens: int,
    group_size: int,
    mesh: Mesh | None,
) -> None:
    whole, crop = (
        _square_grid(tokens) for tokens in (prompt_tokens, max(_crop_tokens(plan) for plan in plans))
    )
    memory.plan(
        config,
        shapes,
        dtype=dtype,
        device_bytes=memory.device_bytes(),
        mesh=mesh or memory.ONE_DEVICE,
        group_size=group_size,
        prompt_images=[whole],
        extend_images=[crop] if shapes.extend_lengths else [],
    ).check()


def _shapes(
    policy: Policy, plans: Sequence[Plan], prompt_tokens: int, slots: int, group_size: int, least_rows: int
) -> Shapes:
    limits = [plan.rules.limits for plan in plans]
    words, crop = _words(policy.tokenizer), max(_crop_tokens(plan) for plan in plans)
    zooms, turns = max(limit.max_zooms for limit in limits), max(limit.turns for limit in limits)
    longest = max(limit.max_tokens for limit in limits)
    prompt_length = bucket(prompt_tokens)
    behind = turns * (max(limit.max_turn_tokens for limit in limits) + words) + zooms * crop
    examples = math.ceil(slots / group_size) + 1
    shared = shares_prompts(prompt_length, group_size)
    cache = min(behind, longest) if shared else max(prompt_length, min(prompt_tokens + behind, longest))
    return Shapes(
        slots=slots,
        cache=cache,
        prompt_lengths=_prompt_lengths(prompt_tokens),
        extend_lengths=_extend_lengths(policy.tokenizer, plans) if zooms else (),
        image_tokens=bucket(examples * prompt_tokens + slots * crop),
        max_images=8 + zooms,
        least_read=_LEAST_READ,
        least_rows=least_rows,
        prefixes=examples if shared else 0,
        group=group_size if shared else 1,
    )


def _prompt_lengths(longest: int) -> tuple[int, ...]:
    """A quarter, a half and the whole of a long prompt; of short ones the whole alone."""
    parts = (4, 2, 1) if longest >= _LONG_PROMPT else (1,)
    return tuple(sorted({bucket(longest // part) for part in parts}))


def _token_bytes(tokenizer: Tokenizer, token_id: int) -> bytes:
    try:
        return tokenizer.token_bytes(token_id)
    except ValueError:  # A gap in the vocabulary.
        return b""


def _words(tokenizer: Tokenizer) -> int:
    """Tokens of the longest text that can follow a turn, the image left out."""
    text = prompts.malformed_observation(Malformed(_LONGEST_REASON, MalformedKind.NO_ACTION))
    turn = chat.next_user_turn(tokenizer, [], (text,))
    return len(turn) + len(tokenizer.encode_with_tool_tags(prompts.forced_answer())) + 2


def _extend_lengths(tokenizer: Tokenizer, plans: Sequence[Plan]) -> tuple[int, ...]:
    """Bucketed tokens of what may be given after a turn, with the one before it: a closer view, or a refusal."""
    forced = len(tokenizer.encode_with_tool_tags(prompts.forced_answer()))
    refuses = any(plan.rules.limits.max_malformed != 0 for plan in plans)
    lengths = {bucket(_words(tokenizer) + 1)} if refuses else set()
    for plan in plans:
        before, after = prompts.observation(plan.rules.dot, plan.rules.form)
        seen = chat.next_user_turn(tokenizer, [], (before, ImageSlot(_crop_tokens(plan)), after))
        lengths.add(bucket(len(seen) + plan.rules.forces_answer * forced + 1))
    return tuple(sorted(lengths))


def _crop_tokens(plan: Plan) -> int:
    """Tokens of the largest crop; boxes keep their shape, so that rounding may add to them."""
    tokens = (round_to_unit(plan.zoom.preset.side, _UNIT) // _UNIT) ** 2
    return tokens if plan.rules.form.length == 2 else 2 * tokens


def _square_grid(tokens: int) -> Grid:
    side = 2 * math.ceil(math.sqrt(tokens))
    return 1, side, side
