"""The optimizer: what a gradient does to the parameters."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from optax.contrib import muon

from vigorl_jax.array_typing import Array
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.training.trainable import path_of

KINDS = ("adamw", "muon")
SCHEDULES = ("constant", "linear", "cosine")
# Which parameters decay: all that are trained (the official GRPO code), without norms and biases (the official SFT
# code), without embeddings and output head too.
DECAYED = ("all", "matrices", "kernels")


@dataclasses.dataclass(frozen=True)
class OptimiserSettings:
    """How parameters follow gradients; defaults are those of the official GRPO code.

    Attributes:
      kind: "adamw", or "muon" for the matrices inside of layers, with AdamW for the rest.
      learning_rate: at its peak.
      schedule: "constant", "linear" or "cosine", from the end of the warm-up to `total_steps`.
      warmup_steps: updates of a linear rise; its first has learning_rate / warmup_steps, never 0.
      total_steps: updates of the run; only linear and cosine need it.
      final_fraction: of the learning rate, reached after `total_steps`.
      b1, b2, eps: of Adam.
      weight_decay: decoupled; times the learning rate, it is taken from the parameters.
      decayed: "all" parameters, "matrices" (no norms, no biases) or "kernels" (no embeddings nor output head either).
      max_grad_norm: to which the gradient of all parameters together is clipped; None is off.
      momentum: of Muon.
      muon_rms: root mean square of Muon's updates before the learning rate; 0.2 is that of AdamW, so that both take
        the same learning rate (arXiv:2502.16982).
    """

    kind: str = "adamw"
    learning_rate: float = 1e-6
    schedule: str = "constant"
    warmup_steps: int = 0
    total_steps: int | None = None
    final_fraction: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    decayed: str = "all"
    max_grad_norm: float | None = 1.0
    momentum: float = 0.95
    muon_rms: float = 0.2

    def __post_init__(self) -> None:
        """Refuses names that are not known and numbers that cannot be meant."""
        for field, names in (("kind", KINDS), ("schedule", SCHEDULES), ("decayed", DECAYED)):
            if getattr(self, field) not in names:
                raise ValueError(
                    f"OptimiserSettings.{field} is {getattr(self, field)!r}; choose one of {', '.join(names)}"
                )
        for field in ("learning_rate", "weight_decay", "warmup_steps"):
            if getattr(self, field) < 0:
                raise ValueError(f"OptimiserSettings.{field} is {getattr(self, field)}; give at least 0")
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            raise ValueError(
                f"OptimiserSettings.max_grad_norm is {self.max_grad_norm}; give more than 0, or None (off)"
            )
        if self.schedule != "constant" and (self.total_steps or 0) <= self.warmup_steps:
            raise ValueError(
                f"OptimiserSettings.total_steps is {self.total_steps} with a {self.schedule} schedule and "
                f"{self.warmup_steps} steps of warm-up; give the updates of the whole run"
            )


def learning_rate(settings: OptimiserSettings) -> Callable[[Array | int], Array]:
    """From the number of updates already made to the learning rate of the next.

    With a peak of 1, 2 steps of warm-up and a linear schedule of 6 in all: 0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0, ...
    """

    def rate(count: Array | int) -> Array:
        count = jnp.asarray(count, jnp.float32)
        rise = jnp.minimum(1.0, (count + 1) / max(1, settings.warmup_steps))
        return settings.learning_rate * rise * _decline(settings, count)

    return rate


def optimiser(settings: OptimiserSettings) -> optax.GradientTransformation:
    """Clipping, the optimizer and its schedule, for gradients and parameters as nested dicts of float32 arrays."""
    make = {"adamw": _adamw, "muon": _muon}[settings.kind]
    if settings.max_grad_norm is None:
        return make(settings)
    return optax.chain(optax.clip_by_global_norm(settings.max_grad_norm), make(settings))


def with_kahan_summation(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer of float32 arithmetic for parameters of fewer bits, which keeps what rounding them takes away.

    What an update loses when the parameters are rounded is kept, in their dtype, and added to the next update: a
    thousand updates of 1e-4 move a bfloat16 weight of 1 by 0.1, where without this none would move it. Takes the
    memory of a second set of parameters; float32 master weights would take that of two.
    """

    def init(params: Params) -> tuple:
        return jax.tree.map(jnp.zeros_like, params), inner.init(_wide(params))

    def update(gradient: Params, state: tuple, params: Params) -> tuple[Params, tuple]:
        lost, inner_state = state
        updates, inner_state = inner.update(gradient, inner_state, _wide(params))
        updates = jax.tree.map(jnp.add, updates, _wide(lost))

        def loss(update: Array, old: Array) -> Array:
            new = (old.astype(jnp.float32) + update).astype(old.dtype)  # as optax.apply_updates rounds
            return (update - (new.astype(jnp.float32) - old.astype(jnp.float32))).astype(old.dtype)

        return updates, (jax.tree.map(loss, updates, params), inner_state)

    return optax.GradientTransformation(init, update)


def _decline(settings: OptimiserSettings, count: Array) -> Array | float:
    if settings.schedule == "constant":
        return 1.0
    warmup = settings.warmup_steps
    progress = jnp.clip((count - warmup) / (settings.total_steps - warmup), 0.0, 1.0)
    if settings.schedule == "cosine":
        progress = 0.5 - 0.5 * jnp.cos(jnp.pi * progress)
    return 1.0 - (1.0 - settings.final_fraction) * progress


def _adamw(settings: OptimiserSettings) -> optax.GradientTransformation:
    return optax.chain(_scale_by_adam(settings), *_decay_and_rate(settings))


def _muon(settings: OptimiserSettings) -> optax.GradientTransformation:
    directions = {
        # A rate of -1 undoes the sign that optax gives updates: decay and rate come behind, for all alike.
        "muon": muon(-1.0, beta=settings.momentum, consistent_rms=settings.muon_rms),
        # Not the Adam within optax's Muon, which looks ahead (Nesterov).
        "adam": _scale_by_adam(settings),
    }
    return optax.chain(
        optax.partition(directions, lambda params: _map_paths(_direction, params)), *_decay_and_rate(settings)
    )


def _scale_by_adam(settings: OptimiserSettings) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=settings.b1, b2=settings.b2, eps=settings.eps)


def _decay_and_rate(settings: OptimiserSettings) -> Sequence[optax.GradientTransformation]:
    def decays(params: Params) -> Params:
        return _map_paths(lambda path: _decays(path, settings.decayed), params)

    return (
        optax.add_decayed_weights(settings.weight_decay, mask=decays),
        optax.scale_by_learning_rate(learning_rate(settings)),
    )


def _decays(path: str, decayed: str) -> bool:
    name = path.split("/")[-1]
    if decayed == "kernels":
        return name == "kernel" and not path.startswith("lm_head/")
    return decayed == "all" or name in ("kernel", "embedding")


def _direction(path: str) -> str:
    """Muon is for the kernels of layers; vectors, embeddings of tokens and patches and the output head are Adam's."""
    return "muon" if _decays(path, "kernels") and "patch_embed" not in path else "adam"


def _map_paths(function: Callable, params: Params) -> Params:
    return jax.tree_util.tree_map_with_path(lambda keys, _: function(path_of(keys)), params)


def _wide(params: Params) -> Params:
    return jax.tree.map(lambda x: x.astype(jnp.float32), params)
