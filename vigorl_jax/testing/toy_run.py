"""A run of least squares in the frame: what tests of the frame start as processes of their own, and kill.

The state is donated, the position in the data moves at the begin of a step, and the buffer holds the next batch.
"""

import dataclasses
import functools
import os
import pathlib
import signal
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from vigorl_jax.runs import loop
from vigorl_jax.training import distributed
from vigorl_jax.training.checkpoint import Checkpoints, Snapshot

OPTIMISER = optax.adamw(1e-2)


@dataclasses.dataclass(frozen=True)
class Toy:
    """What a test may ask of the process.

    Attributes:
      workdir, num_steps, checkpoint_every, grace_seconds: see `loop.LoopSettings`.
      seed: of the data.
      width: of the parameters; a large one takes time to save.
      mesh: see `distributed.make_mesh`.
      devices: virtual devices of this process.
      hosts: how several processes find each other.
      kill: moment of a SIGKILL to itself: "roll out:3", "update:3", "save:2" (the second save, when it has begun).
      hang_at, hang: the roll-out of this step takes so many seconds; it says so in a file `hangs` beside `workdir`.
      checks: whether roll-outs look for signals.
      nan_from: from this step on updates are not finite, and skipped.
    """

    workdir: str
    num_steps: int = 8
    checkpoint_every: int = 2
    grace_seconds: float = 60.0
    seed: int = 0
    width: int = 64
    mesh: str = "fsdp=-1"
    devices: int = 1
    hosts: distributed.Hosts = dataclasses.field(default_factory=distributed.Hosts)
    kill: str = ""
    hang_at: int = 0
    hang: float = 60.0
    checks: bool = True
    nan_from: int = 1000


@functools.partial(jax.jit, donate_argnums=0)
def update(state, x, y):
    """One step of AdamW on the mean squared error."""
    loss, gradient = jax.value_and_grad(lambda w: jnp.mean((x @ w - y) ** 2))(state["params"]["w"])
    change, opt_state = OPTIMISER.update({"w": gradient}, state["opt_state"], state["params"])
    return {"params": optax.apply_updates(state["params"], change), "opt_state": opt_state}, loss


class ToyJob:
    """Least squares; the batch of a step is drawn one step before and waits in the buffer."""

    headline = ("loss",)
    may_change = ("num_steps", "mesh")

    def __init__(self, toy: Toy):
        self._toy = toy
        self.config = {
            name: getattr(toy, name) for name in ("num_steps", "seed", "width", "mesh", "checkpoint_every")
        }
        self._mesh = distributed.make_mesh(toy.mesh)
        self._step = self._position = self._skipped = 0

    def template(self):
        """Shapes and shardings of the state."""

        def placed(leaf):
            spec = PartitionSpec("fsdp") if leaf.ndim else PartitionSpec()
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(self._mesh, spec))

        return jax.tree.map(placed, jax.eval_shape(self._initial))

    def start(self):
        """Zeros, and the first batch."""
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.template())
        self._state = jax.jit(self._initial, out_shardings=shardings)()
        self._next = self._draw()

    def resume(self, snapshot):
        """What `snapshot` returned."""
        self._state, self._step, self._next = snapshot.state, snapshot.step, dict(snapshot.buffer)
        self._position, self._skipped = snapshot.position["next"], snapshot.counters["skipped"]

    def snapshot(self):
        """All of the job."""
        counters = {"skipped": self._skipped}
        return Snapshot(self._step, self._state, {"next": self._position}, counters, self._next)

    def step(self, number, frame):
        """Draws the next batch, learns from this one."""
        batch = self._next
        with frame.clock.phase("roll out"):
            self._next = self._draw()
            self._moment("roll out", number)
            if number == self._toy.hang_at:
                self._dawdle(frame)
        frame.begin_update()
        self._moment("update", number)
        with frame.clock.phase("learn"):
            whole = NamedSharding(self._mesh, PartitionSpec())
            x, y = (jax.device_put(batch[name], whole) for name in ("x", "y"))
            self._state, loss = update(self._state, x, y)
        self._skipped = self._skipped + 1 if number >= self._toy.nan_from else 0
        self._step = number
        return {
            "loss": float("nan") if self._skipped else loss,
            "first_x": batch["x"][0, 0],
            "consecutive_skipped": self._skipped,
            "tokens": 100,
        }

    def finish(self, frame):
        """`final.npz`: parameters and optimizer state."""
        arrays = [
            multihost_utils.process_allgather(leaf, tiled=True) for leaf in jax.tree.leaves(self._state)
        ]
        if distributed.is_main():
            np.savez(frame.workdir / "final.npz", *arrays)

    def _initial(self):
        params = {"w": jnp.zeros((self._toy.width, 4))}
        return {"params": params, "opt_state": OPTIMISER.init(params)}

    def _draw(self):
        rng = np.random.default_rng((self._toy.seed, self._position))
        self._position += 1
        x = rng.normal(size=(16, self._toy.width)).astype(np.float32)
        return {"x": x, "y": x[:, :4] + 1}

    def _dawdle(self, frame):
        pathlib.Path(self._toy.workdir).with_name("hangs").touch()
        until = time.monotonic() + self._toy.hang
        while time.monotonic() < until:
            time.sleep(0.01)
            if self._toy.checks:
                frame.check()

    def _moment(self, name, number):
        if self._toy.kill == f"{name}:{number}":
            os.kill(os.getpid(), signal.SIGKILL)


def kill_in_save(count: int) -> None:
    """SIGKILL as soon as the `count`th save of this process has begun."""
    saves = iter(range(1, count + 1))
    original = Checkpoints.save

    def save(self, *args):
        original(self, *args)
        if next(saves) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.save = save


def run(toy: Toy, output: str) -> None:
    """Runs the job as a binary would, in a process of its own whose standard error goes to the file `output`."""
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={toy.devices}"
    moment, _, count = toy.kill.partition(":")
    if moment == "save":
        kill_in_save(int(count))
    try:
        distributed.initialise(toy.hosts)
        settings = loop.LoopSettings(
            workdir=toy.workdir,
            num_steps=toy.num_steps,
            checkpoint_every=toy.checkpoint_every,
            grace_seconds=toy.grace_seconds,
            max_skipped=2,
            progress_seconds=0.0,
        )
        loop.run(ToyJob(toy), settings)
    except ValueError as error:
        sys.exit(f"toy_run: {error}")
