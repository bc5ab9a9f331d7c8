"""From logits to tokens: the sampling settings, the draw, and the one definition of a token's log-prob.

Logits are treated in the order of transformers: repetition penalty, banned tokens, temperature, top-k, top-p, min-p.
The last three only cut: each keeps the tokens down to some score. So a row needs one number, its *cut*, which a
binary search over the bits of a float32 finds exactly in 31 sums over the vocabulary. There is no sort, and no
search while no row asks for one.

The draw inverts the cumulative distribution with two uniform numbers a row, one for a block of the vocabulary and
one for a token in it; Gumbel noise would need a number for each token. Float32 uniforms come in steps of 2^-23 =
1.2e-7: the probability of a block, and of a token within its block, is drawn to about that. Log-probs are not
touched by this rounding.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Key

from vigorl_jax.array_typing import Array, Float, Int, typed
from vigorl_jax.qwen25vl.config import Config

# The vocabulary is drawn from in two levels. Few blocks, because cumulative sums are slow for what they do; a power
# of two, so that a vocabulary cut over devices is cut between blocks, and one that divides those of the released
# models (151,936 = 32 x 4748), which are then not padded.
BLOCKS = 32
INFINITY_BITS = 0x7F800000  # of a float32

RowScores = Float[Array, "B V"]
RowValues = Float[Array, "B"]
HostValues = Float[np.ndarray, "B"]
Banned = Bool[Array, "V"] | Bool[np.ndarray, "V"]


class SamplingSettings(NamedTuple):
    """How each row is sampled, as traced values: changing them compiles nothing. Made by `settings`.

    Tokens of equal score are kept or cut together, so that the outcome does not hang on the order of a sort.

    temperature: divides the logits; 0 takes the largest logit, the first of equal ones  # [B]
    top_p: keeps the likeliest tokens up to the one that brings their sum to top_p; 1 is off  # [B]
    top_k: keeps the k likeliest tokens; 0 is off, and so is the size of the vocabulary or more  # [B]
    min_p: keeps tokens at least min_p times as likely as the likeliest; 0 is off  # [B]
    repetition_penalty: divides positive and multiplies negative logits of seen tokens; 1 is off  # [B]
    """

    temperature: RowValues | HostValues
    top_p: RowValues | HostValues
    top_k: Int[Array, "B"] | Int[np.ndarray, "B"]
    min_p: RowValues | HostValues
    repetition_penalty: RowValues | HostValues


class Draw(NamedTuple):
    """A token for each row. A row whose allowed logits hold NaN or +inf, or nothing finite, has NaN log-probs.

    tokens: ids, of the vocabulary but without meaning where the log-probs are NaN  # [B]
    logprobs: their `policy_logprobs`  # [B]
    truncated_logprobs: their log-probs under the distribution that they were drawn from, that is after repetition
      penalty and cuts; 0 at temperature 0  # [B]
    """

    tokens: Int[Array, "B"]
    logprobs: RowValues
    truncated_logprobs: RowValues


_RANGES: dict[str, tuple[type, Callable[[np.ndarray], np.ndarray], str]] = {
    "temperature": (
        np.float32,
        lambda x: (x == 0) | ((x >= 1e-6) & np.isfinite(x)),
        "0 (greedy) or a finite number of at least 1e-6",
    ),
    "top_p": (np.float32, lambda x: (x > 0) & (x <= 1), "a number above 0, and at most 1 (off)"),
    "top_k": (np.int32, lambda x: (x >= 0) & (x % 1 == 0), "an integer of at least 0 (off)"),
    "min_p": (np.float32, lambda x: (x >= 0) & (x <= 1), "a number from 0 (off) to 1"),
    "repetition_penalty": (
        np.float32,
        lambda x: (x > 0) & np.isfinite(x),
        "a finite number above 0; 1 is off",
    ),
}


def settings(
    rows: int,
    *,
    temperature: float | Sequence[float] = 1.0,
    top_p: float | Sequence[float] = 1.0,
    top_k: int | Sequence[int] = 0,
    min_p: float | Sequence[float] = 0.0,
    repetition_penalty: float | Sequence[float] = 1.0,
) -> SamplingSettings:
    """Checked settings of `rows` rows, each value one number for all rows or one for each.

    Raises:
      ValueError: a number of values that is neither one nor `rows`, or a value out of its range.
    """
    return SamplingSettings(
        temperature=_row_values("temperature", temperature, rows),
        top_p=_row_values("top_p", top_p, rows),
        top_k=_row_values("top_k", top_k, rows),
        min_p=_row_values("min_p", min_p, rows),
        repetition_penalty=_row_values("repetition_penalty", repetition_penalty, rows),
    )


def banned_tokens(config: Config, *, text_tokens: int | None = None) -> np.ndarray:
    """True at the ids that are never sampled: the placeholders of images and videos, and the markers around them.

    text_tokens: one more than the tokenizer's largest id. Embedding tables are often longer; with this the ids
      behind the tokenizer's, which have no text, are banned too.

    Returns:
      bool [V]
    """
    ids = np.arange(config.text.vocab_size)
    vision = (
        config.image_token_id,
        config.video_token_id,
        config.vision_start_token_id,
        config.vision_end_token_id,
    )
    return np.isin(ids, vision) | (ids >= (len(ids) if text_tokens is None else text_tokens))


@typed
def policy_logprobs(
    logits: Float[Array, "*rows V"],
    tokens: Int[Array, "*rows"],
    temperature: Float[Array, "*#rows"],
    banned: Banned,
) -> Float[Array, "*rows"]:
    """log softmax(logits / temperature)[token] over the tokens that are not banned, in float32.

    This is what the sampler reports and the learner differentiates: the policy at the sampling temperature, before
    repetition penalty, top-k, top-p and min-p. At temperature 0 it is the policy at temperature 1, because a point
    mass has no log-prob to learn from. A banned token has -inf: mask with `jnp.where`, not by multiplying. Rows whose
    allowed logits hold NaN or +inf, or nothing finite, have NaN.

    Logits (0, log 3, 9) with the third token banned: log(1/4) and log(3/4); at temperature 0.5, log(1/10) and
    log(9/10).
    """
    deficits = _deficits(logits, temperature, banned)
    chosen = jnp.take_along_axis(deficits, tokens[..., None], axis=-1)[..., 0]
    return -chosen - jnp.log(jnp.exp(-deficits).sum(axis=-1))


@typed
def draw(
    logits: RowScores,
    settings: SamplingSettings,
    keys: Key[Array, "B"],
    banned: Banned,
    seen: Bool[Array, "B V"] | None = None,
) -> Draw:
    """Draws a token for each row, from its own key: a row's token does not depend on its neighbours.

    Args:
      logits: scores before any treatment.
      banned: ids that are never drawn.
      seen: ids to which the repetition penalty applies, those of prompt and text so far; None applies none.
    """
    greedy = settings.temperature == 0
    penalised = logits if seen is None else _penalised(logits, settings.repetition_penalty, seen)
    deficits = _deficits(penalised, settings.temperature, banned)
    # Greedy is a cut down to the best score and uniform numbers of 0, which take the first that is left.
    cuts = jnp.where(greedy, 0.0, _cuts(deficits, settings))
    uniforms = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
    tokens, truncated = _invert(deficits, cuts, jnp.where(greedy[:, None], 0.0, uniforms))
    policy = policy_logprobs(logits, tokens, settings.temperature, banned)
    truncated = jnp.where(greedy, 0.0, truncated)
    return Draw(tokens, policy, jnp.where(jnp.isnan(policy), jnp.nan, truncated))


def _row_values(name: str, given: float | Sequence[float], rows: int) -> np.ndarray:
    dtype, valid, wanted = _RANGES[name]
    values = np.asarray(given)
    if values.shape not in ((), (rows,)):
        raise ValueError(
            f"{name} of shape {values.shape} for {rows} rows; give one number or one for each row"
        )
    values = np.broadcast_to(values, (rows,))
    wrong = np.flatnonzero(~valid(values))
    if wrong.size:
        raise ValueError(f"{name} {values[wrong[0]]} in row {wrong[0]}; give {wanted}")
    return values.astype(dtype)


def _penalised(logits: RowScores, penalty: RowValues, seen: Bool[Array, "B V"]) -> RowScores:
    logits, penalty = logits.astype(jnp.float32), penalty[:, None]
    return jnp.where(seen, jnp.where(logits < 0, logits * penalty, logits / penalty), logits)


def _deficits(
    logits: Float[Array, "*rows V"], temperature: Float[Array, "*#rows"], banned: Banned
) -> Float[Array, "*rows V"]:
    """(best logit - logit) / temperature, at least 0; inf where banned.

    A row with NaN or without a finite best holds NaN, and so does any sum over it. (Whether a maximum passes NaN on
    is left open by XLA's CPU backend.)
    """
    temperature = jnp.where(temperature == 0, 1.0, temperature)[..., None]
    allowed = jnp.where(banned, -jnp.inf, logits.astype(jnp.float32))
    # The best cancels out of every log-prob, and so out of their gradients.
    best = jax.lax.stop_gradient(jnp.max(allowed, axis=-1, keepdims=True))
    return jnp.where(jnp.isfinite(best), (best - allowed) / temperature, jnp.nan)


def _cuts(deficits: RowScores, settings: SamplingSettings) -> RowValues:
    """The largest deficit (best score minus score, over the temperature) that each row keeps."""
    sampled = settings.temperature != 0
    by_k = sampled & (settings.top_k > 0) & (settings.top_k < deficits.shape[1])
    by_p = sampled & (settings.top_p < 1)
    everything = jnp.full(deficits.shape[:1], jnp.inf)
    cuts = jax.lax.cond(
        by_k.any(),
        lambda: jnp.where(
            by_k, _search(lambda kept: kept.sum(axis=-1), deficits, settings.top_k), everything
        ),
        lambda: everything,
    )
    cuts = jax.lax.cond(
        by_p.any(),
        lambda: jnp.minimum(cuts, jnp.where(by_p, _nucleus(deficits, cuts, settings.top_p), everything)),
        lambda: cuts,
    )
    return jnp.minimum(cuts, -jnp.log(settings.min_p))


def _nucleus(deficits: RowScores, cuts: RowValues, top_p: RowValues) -> RowValues:
    def mass(kept: Bool[Array, "B V"]) -> RowValues:
        return jnp.where(kept, jnp.exp(-deficits), 0.0).sum(axis=-1)

    return _search(mass, deficits, top_p * mass(deficits <= cuts[:, None]))


def _search(
    measure: Callable[[Bool[Array, "B V"]], Array], deficits: RowScores, goal: RowValues | Int[Array, "B"]
) -> RowValues:
    """The largest cut with measure(deficits < cut) < goal: the token at the cut is the one that reaches the goal.

    Floats of one sign are ordered as their bits are, so the 31 bits are decided one by one from the highest.
    """

    def decide(i: Array, bits: Int[Array, "B"]) -> Int[Array, "B"]:
        trial = bits | (1 << (30 - i))
        below = deficits < jax.lax.bitcast_convert_type(trial, jnp.float32)[:, None]
        # Bit patterns beyond that of infinity are NaN: nothing is below them, so they must not be taken.
        return jnp.where((trial <= INFINITY_BITS) & (measure(below) < goal), trial, bits)

    bits = jax.lax.fori_loop(0, 31, decide, jnp.zeros(deficits.shape[:1], jnp.int32))
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _invert(
    deficits: RowScores, cuts: RowValues, uniforms: Float[Array, "B 2"]
) -> tuple[Int[Array, "B"], RowValues]:
    """Tokens at the given quantiles of the softmax of -deficits over the kept tokens, and their log-probs."""
    width = -(-deficits.shape[1] // BLOCKS)
    padding = BLOCKS * width - deficits.shape[1]
    kept = jnp.where(deficits <= cuts[:, None], deficits, jnp.inf)
    kept = jnp.pad(kept, ((0, 0), (0, padding)), constant_values=jnp.inf).reshape(-1, BLOCKS, width)
    masses = jnp.exp(-kept).sum(axis=-1)
    block = _quantile(masses, uniforms[:, 0])
    inside = jnp.take_along_axis(kept, block[:, None, None], axis=1)[:, 0]
    place = _quantile(jnp.exp(-inside), uniforms[:, 1])
    deficit = jnp.take_along_axis(inside, place[:, None], axis=1)[:, 0]
    return block * width + place, -deficit - jnp.log(masses.sum(axis=-1))


def _quantile(masses: Float[Array, "B N"], uniforms: RowValues) -> Int[Array, "B"]:
    """The first index whose cumulative mass exceeds its uniform part of the whole; 0 where nothing has mass."""
    cumulative = jnp.cumsum(masses, axis=-1)
    # Sums in parallel are rounded differently: a step may appear where the mass is 0, which must not be taken.
    places = jnp.where(masses > 0, jnp.arange(masses.shape[-1]), -1)
    passed = (places >= 0) & (cumulative > uniforms[:, None] * cumulative[:, -1:])
    last = jnp.maximum(places.max(axis=-1, keepdims=True), 0)
    # The least index by a minimum: CPUs compute argmax ten times slower.
    return jnp.where(passed, places, last).min(axis=-1)
