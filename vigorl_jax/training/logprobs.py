"""Log-probs and entropies of a batch's targets under the network at hand, never with all logits at once.

Hidden states are gathered at the targets first, so the output head runs on sampled tokens alone. It then runs over
chunks of targets, recomputed in the backward pass: of the logits [B, T, V], no more than `max_logits` numbers exist at
a time. Each chunk holds the same columns of every row, so that rows stay where a mesh has put them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool

from vigorl_jax.array_typing import Array, Float, Hidden, ImageEmbeds, Logits, typed
from vigorl_jax.qwen25vl.model import Qwen25VL
from vigorl_jax.sampling.decoding import Banned, policy_logprobs
from vigorl_jax.training.batch import Batch, Targets

# 512 MiB of float32 for one chunk, of which the backward pass holds a few. Smaller chunks are no faster on CPUs either,
# where a single chunk, which is not recomputed, saves a twelfth of an update at 32,000 ids and a fifth of the scores.
MAX_LOGITS = 1 << 27

Head = Callable[[Hidden], Logits]


class Scores(NamedTuple):
    """What the policy says of each target, float32.

    log_probs: see `decoding.policy_logprobs`  # [B, T]
    entropies: of the policy where the target was sampled, in nats, without a gradient  # [B, T]
    """

    log_probs: Float[Array, "B T"]
    entropies: Float[Array, "B T"]


@typed
def score(
    model: Qwen25VL,
    batch: Batch,
    image_embeds: ImageEmbeds,
    *,
    temperature: Float[Array, ""] | float = 1.0,
    banned: Banned,
) -> Scores:
    """Scores of a batch's targets.

    Args:
      model: bound to the parameters that are learned, or to those of a reference.
      batch: rows of episodes.
      image_embeds: the tower's output for the batch's image table; with a frozen tower it is computed once for all
        passes and micro-batches.
      temperature: that of sampling, which divides the logits in every pass.
      banned: ids that are never sampled, see `decoding.banned_tokens`.
    """
    embedded = model.embed(batch.tokens, batch.image_slots, image_embeds)
    hidden, _ = model.language_model(embedded, batch.positions, segments=batch.segments)
    return score_hidden(model.logits, hidden, batch.targets, temperature=temperature, banned=banned)


@typed
def score_hidden(
    head: Head,
    hidden: Hidden,
    targets: Targets,
    *,
    temperature: Float[Array, ""] | float = 1.0,
    banned: Banned,
    max_logits: int = MAX_LOGITS,
) -> Scores:
    """Scores of the targets among hidden states.

    Args:
      head: from hidden states to logits; its parameters may be closed over and get gradients.
      hidden: of all tokens of the rows; those that predict no target get a gradient of exactly 0.
      targets: what is scored.
      temperature: divides the logits.
      banned: ids that are never sampled.
      max_logits: how many logits exist at a time.
    """
    tokens = targets.tokens
    rows, columns = tokens.shape
    hidden = jnp.take_along_axis(hidden, targets.sources[..., None], axis=1)
    width = max(1, max_logits // (rows * len(banned)))
    chunks = math.ceil(columns / width)

    def score_chunk(head: Head, hidden: Array, tokens: Array) -> Scores:
        logits = head(hidden)
        temperatures = jnp.full((1, 1), temperature, jnp.float32)
        return Scores(
            policy_logprobs(logits, tokens, temperatures, banned), _entropies(logits, temperatures, banned)
        )

    if chunks == 1:
        return score_chunk(head, hidden, tokens)
    width = math.ceil(columns / chunks)
    head, wide = _with_wide_parameters(head, hidden[:, :width])
    scores = jax.lax.map(
        jax.checkpoint(lambda chunk: score_chunk(lambda x: head(x, wide), *chunk)),
        (_split(hidden, width), _split(tokens, width)),
    )
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(rows, -1)[:, :columns], scores)


def _entropies(
    logits: Float[Array, "B T V"], temperature: Float[Array, "1 1"], banned: Bool[Array, "V"]
) -> Float[Array, "B T"]:
    temperature = jnp.where(temperature == 0, 1.0, temperature)[..., None]
    allowed = jnp.where(banned, -jnp.inf, jax.lax.stop_gradient(logits) / temperature)
    log_probs = jax.nn.log_softmax(allowed)
    return -jnp.sum(jnp.where(banned, 0.0, jnp.exp(log_probs) * log_probs), axis=-1)


def _with_wide_parameters(
    head: Head, example: Array
) -> tuple[Callable[[Array, list[Array]], Array], list[Array]]:
    """The head as a function of its hidden states and of its closed-over parameters, these in float32.

    The gradient of a parameter is summed over the chunks in the dtype in which it enters the loop: in bfloat16 each
    addition would round, and the error grow with the number of chunks.
    """
    converted, parameters = jax.closure_convert(head, example)
    dtypes = [parameter.dtype for parameter in parameters]

    def call(hidden: Array, wide: list[Array]) -> Array:
        return converted(hidden, *(w.astype(dtype) for w, dtype in zip(wide, dtypes, strict=True)))

    return call, [parameter.astype(jnp.float32) for parameter in parameters]


def _split(x: Array, width: int) -> Array:
    """[B, T, ...] -> [chunks, B, width, ...], padded with zeros."""
    x = jnp.pad(x, [(0, 0), (0, -x.shape[1] % width)] + [(0, 0)] * (x.ndim - 2))
    return jnp.moveaxis(x.reshape(x.shape[0], -1, width, *x.shape[2:]), 1, 0)
