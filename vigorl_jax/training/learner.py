"""The update: from batches of episodes to new parameters, for supervised learning and policy gradients alike."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, SingleDeviceSharding

from vigorl_jax.array_typing import Array
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params, Qwen25VL
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.training.batch import Batch, Values
from vigorl_jax.training.image_embeds import Images, frozen_part, image_embeds
from vigorl_jax.training.learner_settings import REMAT, LearnerSettings
from vigorl_jax.training.logprobs import Scores, score
from vigorl_jax.training.lora import Adapted
from vigorl_jax.training.losses import Loss, grpo_loss, sft_loss
from vigorl_jax.training.network import Network, Plain
from vigorl_jax.training.optimiser import learning_rate, optimiser, with_kahan_summation
from vigorl_jax.training.placement import Placement
from vigorl_jax.training.state import TrainState, state_shardings
from vigorl_jax.training.trainable import join, split


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Sums:
    """Totals over micro-batches: gradients of parameters and of image embeddings in float32, losses and metrics."""

    gradient: Params
    embeds: Array
    loss: Loss


class Learner:
    """Jitted updates and scores of one model.

    One compilation serves all batches of a shape; the tower's part is compiled once for each bucket of images. An
    update of one micro-batch is a single jitted call, unless the settings accumulate.
    """

    def __init__(
        self,
        config: Config,
        settings: LearnerSettings,
        *,
        banned: np.ndarray | None = None,
        mesh: Mesh | None = None,
    ):
        """Compiles nothing yet.

        Args:
          config: the model's.
          settings: how it learns.
          banned: ids that the sampler never samples (`decoding.banned_tokens`); None bans none, as supervised
            learning wants it.
          mesh: devices that share parameters and batches; None is the default device.
        """
        self.config, self.settings = config, settings
        self.network: Network = Adapted(config, settings.lora) if settings.lora else Plain(config)
        self.placement = Placement(mesh)
        self._banned = np.zeros(config.text.vocab_size, np.bool_) if banned is None else banned
        self._optimiser = optimiser(settings.optimiser)
        if settings.weights == "bfloat16":
            self._optimiser = with_kahan_summation(self._optimiser)
        self._trained_names, _ = self._split(self.network.abstract(jnp.float32))
        self._compile()

    def init(self, params: Params) -> TrainState:
        """The state before the first update, on the mesh.

        params: of the model as samplers and model directories know it; they stay the caller's, none is donated.
        """
        first, shardings = self.before_training(params), self.shardings()
        trained = jax.tree.map(lambda x: jnp.array(x, copy=True), first.params)
        start = jax.jit(self._start, out_shardings=shardings and dataclasses.replace(shardings, frozen={}))
        return dataclasses.replace(start(trained), params=trained, frozen=first.frozen)

    def before_training(self, params: Params) -> TrainState:
        """The parameters of `init` without an optimizer's state: what a run that goes on needs of its first model.

        It may share arrays with `params`, so no update may be given it.
        """
        trained, frozen = self._split(self.network.from_plain(params))
        shardings, zero = self.shardings(), jnp.zeros((), jnp.int32)
        trained = _placed(trained, self.settings.weights, shardings and shardings.params)
        frozen = _placed(frozen, self.settings.compute_dtype, shardings and shardings.frozen)
        return TrainState(trained, frozen, (), zero, zero, zero)

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and, on a mesh, shardings of a state: what a checkpoint is restored to."""
        abstract, shardings = self._abstract_state(), self.shardings()
        if shardings is None:
            return abstract
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), abstract, shardings
        )

    def shardings(self) -> TrainState | None:
        """Of a state on the mesh; None without one."""
        if self.placement.mesh is None:
            return None
        trained, frozen = self._split(self.network.shardings(self.placement.mesh))
        return state_shardings(self._abstract_state(), trained, frozen, self.placement.everywhere)

    def params(self, state: TrainState) -> Params:
        """All parameters of the model, to sample from or to write in the Hugging Face layout.

        Without LoRA these are the state's own arrays, which the next update donates; with it, kernels and adapters
        are merged anew.
        """
        return self.network.to_plain(join(state.params, state.frozen))

    @property
    def encodes(self) -> bool:
        """Whether `encode` makes anything of images: nothing before the merger is trained."""
        return not set(self._trained_names.get("visual", {})) - {"merger"}

    @property
    def encodes_wholly(self) -> bool:
        """Whether what `encode` makes are embeddings: the merger is not trained either."""
        return "visual" not in self._trained_names

    def encode(self, state: TrainState, images: PatchBatch) -> Images:
        """What frozen parameters make of the images: computed once, it serves every update and score on them."""
        return self._encode(state.params, state.frozen, self.placement.put_patches(images))

    def score(self, state: TrainState, batches: Sequence[Batch], images: Images) -> list[Scores]:
        """Log-probs and entropies of the targets of each batch: those of the old policy, or of a `Reference`.

        images: those of all batches: patches, or what `encode` made of them.
        """
        images = self._placed_images(images)
        if len(batches) > 1:
            images = self._embed(state.params, state.frozen, images)
        return [
            self._score(state.params, state.frozen, self.placement.put_batch(batch), images)
            for batch in batches
        ]

    def update(
        self,
        state: TrainState,
        batches: Sequence[Batch],
        images: Images,
        *,
        old: Sequence[Values] | None = None,
        reference: Sequence[Values] | None = None,
    ) -> tuple[TrainState, dict[str, float]]:
        """One step of the optimizer.

        Args:
          state: donated; only the returned one is alive afterwards.
          batches: micro-batches of equal shapes. How many there are changes nothing but memory.
          images: those of all batches: patches, or what `encode` made of them.
          old: log-probs of each batch under the policy before the first update on these episodes (`score`); None where
            this is that update.
          reference: log-probs under the reference policy; wanted where the objective has a KL term.

        Returns:
          The state after the step, or with the same parameters where loss or gradient were not finite, and metrics:
          "loss", those of `losses`, "grad_norm" before clipping, "learning_rate", "target_tokens" and "skipped" (1 or
          0).
        """
        images = self._placed_images(images)
        frozen, learned = state.frozen, dataclasses.replace(state, frozen={})
        parts = [
            (self.placement.put_batch(batch), self._item(old, i), self._item(reference, i))
            for i, batch in enumerate(batches)
        ]
        if len(parts) == 1 and not self.settings.accumulates:
            learned, metrics = self._step(learned, frozen, images, *parts[0])
        else:
            learned, metrics = self._accumulated_step(learned, frozen, images, parts)
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        return dataclasses.replace(learned, frozen=frozen), values

    def _accumulated_step(self, learned: TrainState, frozen: Params, images: Images, parts: list):
        embeds, pull = self._embed_with_pull(learned.params, frozen, images)
        sums = self._no_sums(learned.params, frozen, embeds, *parts[0])
        for part in parts:
            sums = self._accumulate(sums, learned.params, frozen, embeds, *part)
        return self._finish(learned, sums, pull)

    def _placed_images(self, images: Images) -> Images:
        if isinstance(images, PatchBatch):
            return self.placement.put_patches(images)
        return self.placement.put_rows(images)

    def _item(self, values: Sequence[Values] | None, index: int) -> Values | None:
        return None if values is None else self.placement.put_rows(values[index])

    # What follows is traced.

    def _compile(self) -> None:
        shardings, rows, everywhere = self.shardings(), self.placement.rows, self.placement.everywhere
        learned = shardings and dataclasses.replace(shardings, frozen={})
        sums = shardings and _Sums(shardings.params, rows, everywhere)
        self._encode = jax.jit(self._traced_encode, out_shardings=rows)
        self._embed = jax.jit(self._traced_embed, out_shardings=rows)
        self._score = jax.jit(self._traced_score, out_shardings=rows)
        self._step = jax.jit(
            self._traced_step, donate_argnums=0, out_shardings=learned and (learned, everywhere)
        )
        self._embed_with_pull = jax.jit(self._traced_embed_with_pull)
        # Bound to the device as the parameters are: else `accumulate` would be compiled for the first sums alone.
        self._no_sums = jax.jit(self._traced_no_sums, out_shardings=sums or _first_device())
        self._accumulate = jax.jit(self._traced_accumulate, donate_argnums=0, out_shardings=sums)
        self._finish = jax.jit(
            self._traced_finish, donate_argnums=0, out_shardings=learned and (learned, everywhere)
        )

    def _start(self, trained: Params) -> TrainState:
        zero = jnp.zeros((), jnp.int32)
        return TrainState(trained, {}, self._optimiser.init(trained), zero, zero, zero)

    def _abstract_state(self) -> TrainState:
        trained, _ = self._split(self.network.abstract(self.settings.weights))
        _, frozen = self._split(self.network.abstract(self.settings.compute_dtype))
        return dataclasses.replace(jax.eval_shape(self._start, trained), frozen=frozen)

    def _split(self, params: Params) -> tuple[Params, Params]:
        return split(params, self.settings.not_trained)

    def _bind(self, trained: Params, frozen: Params) -> Qwen25VL:
        """The model in the dtype of computation, whose layers are recomputed as the settings say."""
        model = self.network.bind(_cast(join(trained, frozen), self.settings.compute_dtype))
        model.language_model.wrap_layer = model.visual.wrap_layer = REMAT[self.settings.remat]
        return model

    def _traced_encode(self, trained: Params, frozen: Params, images: Images) -> Images:
        return frozen_part(self._bind(trained, frozen), images, self._trained_names)

    def _traced_embed(self, trained: Params, frozen: Params, images: Images) -> Array:
        return image_embeds(self._bind(trained, frozen), images)

    def _traced_score(self, trained: Params, frozen: Params, batch: Batch, images: Images) -> Scores:
        return self._scores(self._bind(trained, frozen), batch, images)

    def _scores(self, model: Qwen25VL, batch: Batch, images: Images) -> Scores:
        return score(
            model,
            batch,
            image_embeds(model, images),
            temperature=self.settings.temperature,
            banned=self._banned,
        )

    def _total(
        self, trained: Params, images: Images, frozen: Params, batch: Batch, old: Values, reference: Values
    ) -> tuple[Array, Loss]:
        scores = self._scores(self._bind(trained, frozen), batch, images)
        if self.settings.objective is None:
            loss = sft_loss(scores, batch.targets, self.settings.aggregate)
        else:
            loss = grpo_loss(scores, batch.targets, self.settings.objective, old=old, reference=reference)
        return loss.objective.total, loss

    def _traced_step(self, learned, frozen, images, batch, old, reference):
        images = self._traced_encode(learned.params, frozen, images)
        gradient, loss = jax.grad(self._total, has_aux=True)(
            learned.params, images, frozen, batch, old, reference
        )
        return self._applied(learned, gradient, loss)

    def _traced_embed_with_pull(self, trained, frozen, images) -> tuple[Array, Callable | None]:
        """Embeddings, and the map from their gradient to that of the trained parameters of the tower, if it has any."""
        if "visual" not in trained:
            return self._traced_embed(trained, frozen, images), None
        return jax.vjp(lambda trained: self._traced_embed(trained, frozen, images), trained)

    def _traced_no_sums(self, trained, frozen, embeds, batch, old, reference) -> _Sums:
        _, loss = jax.eval_shape(self._total, trained, embeds, frozen, batch, old, reference)
        zeros = functools.partial(jax.tree.map, lambda x: jnp.zeros(x.shape, jnp.float32))
        return _Sums(zeros(trained), zeros(embeds), zeros(loss))

    def _traced_accumulate(self, sums, trained, frozen, embeds, batch, old, reference) -> _Sums:
        (gradient, embeds_gradient), loss = jax.grad(self._total, argnums=(0, 1), has_aux=True)(
            trained, embeds, frozen, batch, old, reference
        )
        return jax.tree.map(jnp.add, sums, _Sums(gradient, embeds_gradient, loss))

    def _traced_finish(self, learned, sums, pull):
        gradient = sums.gradient
        if pull is not None:
            embeds_gradient = sums.embeds.astype(self.settings.compute_dtype)
            gradient = jax.tree.map(jnp.add, gradient, *pull(embeds_gradient))
        return self._applied(learned, gradient, sums.loss)

    def _applied(self, learned: TrainState, gradient: Params, loss: Loss) -> tuple[TrainState, dict]:
        """The state after division and optimizer, and metrics; the same parameters if anything is not finite."""
        weight = jnp.maximum(loss.objective.weight, jnp.finfo(jnp.float32).tiny)
        gradient = jax.tree.map(lambda g: g.astype(jnp.float32) / weight, gradient)
        norm = optax.tree.norm(gradient)
        is_finite = jnp.isfinite(norm) & jnp.isfinite(loss.objective.total)
        updates, opt_state = self._optimiser.update(gradient, learned.opt_state, learned.params)
        new = optax.apply_updates(learned.params, updates)
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(is_finite, new, old),
            (new, opt_state),
            (learned.params, learned.opt_state),
        )
        skipped = jnp.where(is_finite, 0, 1).astype(jnp.int32)
        metrics = {
            **{name: mean.value for name, mean in loss.metrics.items()},
            "loss": loss.objective.value,
            "grad_norm": norm,
            "learning_rate": learning_rate(self.settings.optimiser)(learned.step),
            "target_tokens": loss.metrics["entropy"].weight,
            "skipped": skipped,
        }
        state = TrainState(
            params,
            {},
            opt_state,
            step=learned.step + 1 - skipped,
            skipped=learned.skipped + skipped,
            consecutive_skipped=(learned.consecutive_skipped + 1) * skipped,
        )
        return state, metrics


def _cast(params: Params, dtype: str) -> Params:
    """Floating-point parameters in another dtype; those that have it, and integers of quantised ones, as they are."""
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, params)


def _placed(params: Params, dtype: str, shardings: Params | None) -> Params:
    # Bound to their device without a mesh too, as what is restored from a checkpoint is: programs serve both.
    return jax.device_put(_cast(params, dtype), shardings or _first_device())


def _first_device() -> SingleDeviceSharding:
    return SingleDeviceSharding(jax.local_devices()[0])
