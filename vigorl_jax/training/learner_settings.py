"""How the learner computes, as one frozen record."""

import dataclasses
import functools
from collections.abc import Mapping

import jax

from vigorl_jax.qwen25vl import layers
from vigorl_jax.qwen25vl.layers import WrapLayer, unwrapped
from vigorl_jax.training.aggregation import Aggregate, token_mean
from vigorl_jax.training.lora import ADAPTED_ONLY, LoraSettings
from vigorl_jax.training.losses import Objective
from vigorl_jax.training.optimiser import OptimiserSettings

# What the backward pass finds ready of each layer: everything; products with weights, but no attention; its input.
REMAT: Mapping[str, WrapLayer] = {
    "none": unwrapped,
    "dots": functools.partial(
        jax.checkpoint,
        policy=jax.checkpoint_policies.save_from_both_policies(
            jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
            jax.checkpoint_policies.save_only_these_names(layers.PRODUCT),
        ),
    ),
    "full": jax.checkpoint,
}
DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class LearnerSettings:
    """How the learner computes.

    Attributes:
      optimiser: what a gradient does to the parameters.
      objective: what is minimised; None is supervised learning.
      aggregate: how tokens become one number in supervised learning; an objective has its own.
      frozen: what is not trained, a name of `trainable.FROZEN_PARTS` or a pattern of parameter paths.
      lora: adapters that are trained in place of everything else; None trains the parameters themselves.
      weights: dtype of trained parameters: "float32", or "bfloat16" with Kahan summation.
      compute_dtype: of everything between parameters and logits; "bfloat16" leaves the optimizer in float32.
      remat: what the backward pass computes anew, a name of REMAT.
      temperature: of sampling, which divides the logits in every pass.
      accumulates: whether a single micro-batch takes the programs of several: where their number varies, none is then
        compiled for it.
    """

    optimiser: OptimiserSettings = dataclasses.field(default_factory=OptimiserSettings)
    objective: Objective | None = None
    aggregate: Aggregate = token_mean
    frozen: str = "vision"
    lora: LoraSettings | None = None
    weights: str = "float32"
    compute_dtype: str = "float32"
    remat: str = "none"
    temperature: float = 1.0
    accumulates: bool = False

    def __post_init__(self) -> None:
        """Refuses names that are not known, and settings that contradict each other."""
        for field, names in (("weights", DTYPES), ("compute_dtype", DTYPES), ("remat", tuple(REMAT))):
            if getattr(self, field) not in names:
                raise ValueError(
                    f"LearnerSettings.{field} is {getattr(self, field)!r}; choose one of {', '.join(names)}"
                )
        if self.temperature <= 0:
            raise ValueError(
                f"LearnerSettings.temperature is {self.temperature}; give that of sampling, more than 0"
            )
        if self.lora and self.frozen != "vision":
            raise ValueError(
                f"LearnerSettings.frozen is {self.frozen!r} and lora is given; adapters are trained alone, in the "
                "language model: leave frozen at 'vision', or lora at None"
            )

    @property
    def not_trained(self) -> str:
        """What `trainable.split` takes for `frozen`."""
        return ADAPTED_ONLY if self.lora else self.frozen
