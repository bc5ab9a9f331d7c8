"""The network as the learner sees it: parameters in, model out. `lora` has another one with the same methods."""

from typing import Protocol

import jax.numpy as jnp
from jax.sharding import Mesh

from vigorl_jax.qwen25vl import model, sharding
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params, Qwen25VL


class Network(Protocol):
    """A form of the model: which parameters it has beside or in place of those of `qwen25vl.model`.

    "Plain" parameters are those of `qwen25vl.model`, which samplers and model directories know.
    """

    def from_plain(self, params: Params) -> Params:
        """This network's parameters at the start, from those of the model that it begins as."""

    def to_plain(self, params: Params) -> Params:
        """Parameters with which the plain model computes what this network does."""

    def without_training(self, trained: Params) -> Params | None:
        """Trained parameters with which the network is what it began as, if these need no copy to be known."""

    def abstract(self, dtype: jnp.dtype) -> Params:
        """Shapes and dtypes of the parameters."""

    def shardings(self, mesh: Mesh) -> Params:
        """A NamedSharding for every parameter."""

    def bind(self, params: Params) -> Qwen25VL:
        """The model with these parameters; call it inside the jitted function that takes `params`."""


class Plain:
    """The model as it is: all parameters may be trained."""

    def __init__(self, config: Config):
        self._config = config

    def from_plain(self, params: Params) -> Params:
        """See Network."""
        return params

    def to_plain(self, params: Params) -> Params:
        """See Network."""
        return params

    def without_training(self, trained: Params) -> None:
        """See Network: only a copy would know."""

    def abstract(self, dtype: jnp.dtype) -> Params:
        """See Network."""
        return model.abstract_params(self._config, dtype)

    def shardings(self, mesh: Mesh) -> Params:
        """See Network."""
        return sharding.param_shardings(self._config, mesh)

    def bind(self, params: Params) -> Qwen25VL:
        """See Network."""
        return model.bind(self._config, params)
