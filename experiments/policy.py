"""A policy for sampling from a model directory: what every binary that rolls out episodes builds first."""

import dataclasses
import math
from collections.abc import Sequence

import jax

from vigorl_jax import rollout
from vigorl_jax.buckets import bucket
from vigorl_jax.processing import chat
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
from vigorl_jax.sampling.sampler import Sampler
from vigorl_jax.sampling.scheduler import Scheduler
from vigorl_jax.sampling.shapes import Shapes
from vigorl_jax.sampling.stops import StopTable
from vigorl_jax.tasks.example import Example

_UNIT = 28
# Longer than any sentence that `calls` says; digits, because they are a token each.
_LONGEST_REASON = "0" * 160


@dataclasses.dataclass(frozen=True)
class Policy:
    """A model with its parameters, tokenizer and image settings."""

    config: Config
    params: Params
    tokenizer: Tokenizer
    images: ImageSettings


def load(model_dir: str, *, dtype: str | None = None, max_pixels: int | None = None) -> Policy:
    """Reads a model directory.

    Args:
      model_dir: In Hugging Face layout.
      dtype: Of the parameters; as stored by default.
      max_pixels: Greatest area of an image as the model sees it; the directory's by default.

    Raises:
      ValueError: the directory is no model of this family.
    """
    images, tokenizer = ImageSettings.from_model_dir(model_dir), Tokenizer.load(model_dir)
    if max_pixels is not None:
        least = min(images.min_pixels, max_pixels)
        images = dataclasses.replace(images, min_pixels=least, max_pixels=max_pixels)
    config, params = weights.load(model_dir, dtype=dtype)
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


def scheduler(
    policy: Policy, plans: Sequence[Plan], *, prompt_tokens: int, slots: int, group_size: int = 1
) -> Scheduler:
    """A sampler for episodes of these plans, whose openings have at most `prompt_tokens`.

    Raises:
      DoesNotFit: the device has not the memory; the message is the plan.
    """
    shapes = _shapes(policy, plans, prompt_tokens, slots, group_size)
    dtype = jax.tree.leaves(policy.params)[0].dtype
    whole, crop = (
        _square_grid(tokens) for tokens in (prompt_tokens, max(_crop_tokens(plan) for plan in plans))
    )
    memory.plan(
        policy.config,
        shapes,
        dtype=dtype,
        device_bytes=memory.device_bytes(),
        group_size=group_size,
        prompt_images=[whole],
        extend_images=[crop] if shapes.extend_lengths else [],
    ).check()
    sampler = Sampler(policy.config, shapes, text_tokens=policy.tokenizer.vocab_size)
    images = ImageStore(policy.config, shapes, policy.images, dtype)
    return Scheduler(sampler, policy.params, images, stop_table(policy))


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


def _shapes(policy: Policy, plans: Sequence[Plan], prompt_tokens: int, slots: int, group_size: int) -> Shapes:
    limits = [plan.rules.limits for plan in plans]
    words, crop = _words(policy.tokenizer), max(_crop_tokens(plan) for plan in plans)
    zooms, turns = max(limit.max_zooms for limit in limits), max(limit.turns for limit in limits)
    needed = prompt_tokens + turns * (max(limit.max_turn_tokens for limit in limits) + words) + zooms * crop
    prompt_length = bucket(prompt_tokens)
    examples = math.ceil(slots / group_size) + 1
    return Shapes(
        slots=slots,
        cache=max(prompt_length, min(needed, max(limit.max_tokens for limit in limits))),
        prompt_lengths=(prompt_length,),
        extend_lengths=tuple(sorted({bucket(words + 1), bucket(words + crop + 1)})) if zooms else (),
        image_tokens=bucket(examples * prompt_tokens + slots * crop),
        max_images=8 + zooms,
    )


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


def _crop_tokens(plan: Plan) -> int:
    """Tokens of the largest crop; boxes keep their shape, so that rounding may add to them."""
    tokens = (round_to_unit(plan.zoom.preset.side, _UNIT) // _UNIT) ** 2
    return tokens if plan.rules.form.length == 2 else 2 * tokens


def _square_grid(tokens: int) -> Grid:
    side = 2 * math.ceil(math.sqrt(tokens))
    return 1, side, side
