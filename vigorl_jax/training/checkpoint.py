"""Checkpoints of a run: written beside the work, complete or absent, restored onto any mesh.

Orbax does the writing. A checkpoint holds the learner's state, the position in the data, counters, arrays in flight,
and a record of the configuration and of the versions that made it. Its number is the number of finished steps.
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

_PACKAGES = ("vigorl_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_SHOWN = 8


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, read or used by this run."""


@dataclasses.dataclass(frozen=True)
class Retention:
    """Which checkpoints stay; the newest always does, and nothing goes before its successor is complete.

    Attributes:
      last: how many of the newest stay.
      every: those whose number it divides stay too; 0: none.
      best_metric: the checkpoint with the highest value of this metric stays too; "" for none. A leading "-" asks
        for the lowest: "-validation/loss".
    """

    last: int = 2
    every: int = 0
    best_metric: str = ""

    def __post_init__(self):
        if self.last < 1 or self.every < 0:
            raise CheckpointError(
                f"retention keeps the last {self.last} and every {self.every}th checkpoint; "
                "wanted last >= 1, and every >= 0 where 0 means none"
            )


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """All that a run needs in order to go on after `step` finished steps.

    Attributes:
      step: finished steps.
      state: pytree of arrays, such as a `TrainState`; may be sharded over hosts.
      position: where the data stands, as JSON or bytes (what a grain iterator's `get_state` returns).
      counters: JSON, such as the number of bad records.
      buffer: named host arrays in flight, such as episodes rolled out ahead; an array of uint8 holds any bytes.

    With several processes everything but `state` is the same on all of them: process 0 writes it.
    """

    step: int
    state: Any
    position: Any = None
    counters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    buffer: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def versions() -> dict[str, str]:
    """The versions of the packages on which exact numbers depend; a package that is not installed is left out."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def config_differences(
    saved: Mapping[str, Any], now: Mapping[str, Any], may_change: Collection[str] = ()
) -> list[str]:
    """The fields that differ, as "optimiser.b1 was 0.9, is 0.95", without those that may change.

    Args:
      saved: nested mapping, as JSON gives it back.
      now: nested mapping of this run.
      may_change: dotted names; a name stands for all fields below it too.
    """
    old, new = _flat_config(saved), _flat_config(now)
    differences = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name, ...) != new.get(name, ...) and not _is_named(name, may_change):
            differences.append(f"{name} was {_shown(old, name)}, is {_shown(new, name)}")
    return differences


class Checkpoints:
    """The checkpoints of one run in one directory. Every process makes one and calls the same methods in step.

    Half-written checkpoints of a killed process are removed when it is made. Use it as a context manager, or `close`
    it: what is being written is then finished.

    Args:
      directory: where the checkpoints lie; made if absent.
      config: the run's configuration, nested, of JSON values.
      may_change: dotted names of the fields that a run may change when it goes on (`config_differences`).
      retention: which checkpoints stay.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        config: Mapping[str, Any],
        *,
        may_change: Collection[str] = (),
        retention: Retention = Retention(),
    ):
        import orbax.checkpoint as ocp

        self._directory = pathlib.Path(directory).resolve()
        self._config = json.loads(json.dumps(config))
        self._may_change = tuple(may_change)
        self._retention = retention
        self._orbax = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                cleanup_tmp_directories=True,
                preservation_policy=_preservation(retention),
                best_fn=_rank if retention.best_metric else None,
            ),
            handler_registry=_handlers(),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def steps(self) -> tuple[int, ...]:
        """Numbers of the checkpoints that stay, those being written included, ascending."""
        return tuple(sorted(self._orbax.all_steps()))

    def save(self, snapshot: Snapshot, metrics: Mapping[str, float] | None = None) -> None:
        """Starts to write a checkpoint; returns when the arrays may be donated. Waits for an earlier one first.

        Args:
          snapshot: what to write. A checkpoint of that number must not be there yet.
          metrics: among them `Retention.best_metric`, where it is known; a checkpoint without it is never the best.

        Raises:
          CheckpointError: this or the earlier checkpoint could not be written.
        """
        import orbax.checkpoint as ocp

        # A buffer may be a mapping that makes its arrays when asked: ask once.
        snapshot = dataclasses.replace(snapshot, buffer=dict(snapshot.buffer))
        items = {
            "state": ocp.args.StandardSave(_by_name(snapshot.state)),
            "record": ocp.args.JsonSave(self._record(snapshot)),
        }
        arrays = {name: array for name, array in snapshot.buffer.items() if array.size}
        if arrays:
            items["buffer"] = ocp.args.StandardSave(arrays)
        with self._explained("written"):
            self._orbax.save(
                snapshot.step,
                args=ocp.args.Composite(**items),
                metrics=self._best_value(metrics or {}),
                force=True,
            )

    def wait(self) -> None:
        """Returns when the last checkpoint is complete.

        Raises:
          CheckpointError: it could not be written.
        """
        with self._explained("written"):
            self._orbax.wait_until_finished()
            self._orbax.check_for_errors()

    def restore(self, template: Any) -> Snapshot | None:
        """Reads the newest complete checkpoint; None where there is none.

        Args:
          template: pytree like the state, of arrays or `jax.ShapeDtypeStruct`; the result has its structure and its
            shardings (a leaf without one goes to the first device), whatever mesh the checkpoint was written from.

        Raises:
          CheckpointError: another configuration, another state, or damaged files.
        """
        step = self._orbax.latest_step()
        return None if step is None else self._restore(step, template)

    def close(self) -> None:
        """Waits for what is being written and frees the threads.

        Raises:
          CheckpointError: the last checkpoint could not be written.
        """
        with self._explained("written"):
            self._orbax.close()

    def _restore(self, step: int, template: Any) -> Snapshot:
        import orbax.checkpoint as ocp

        with self._explained("read"):
            record = self._orbax.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore())).record
        self._check_config(step, record["config"])
        with self._explained("read"):
            stored = self._orbax.item_metadata(step)
        self._check_state(step, stored["state"], template)
        items = {"state": ocp.args.StandardRestore(jax.tree.map(_target, _by_name(template)))}
        if any(math.prod(shape) for _, shape in record["buffer"].values()):
            items["buffer"] = ocp.args.StandardRestore()
        with self._explained("read"):
            restored = self._orbax.restore(step, args=ocp.args.Composite(**items))
        return Snapshot(
            step=step,
            state=_like(template, restored["state"]),
            position=_from_json(record["position"]),
            counters=record["counters"],
            buffer=_buffer(record["buffer"], restored.get("buffer") or {}),
        )

    def _record(self, snapshot: Snapshot) -> dict[str, Any]:
        return {
            "config": self._config,
            "versions": versions(),
            "position": _to_json(snapshot.position),
            "counters": dict(snapshot.counters),
            "buffer": {name: (array.dtype.str, array.shape) for name, array in snapshot.buffer.items()},
        }

    def _best_value(self, metrics: Mapping[str, float]) -> dict[str, float] | None:
        name = self._retention.best_metric
        value = metrics.get(name.removeprefix("-"))
        if not name or value is None or not math.isfinite(value):
            return None
        return {"rank": -value if name.startswith("-") else value}

    def _check_config(self, step: int, saved: Mapping[str, Any]) -> None:
        differences = config_differences(saved, self._config, self._may_change)
        if differences:
            changeable = ", ".join(self._may_change) or "nothing"
            raise CheckpointError(
                f"checkpoint {step} in {self._directory} belongs to another configuration: "
                f"{_listed(differences)}; give the old values or another directory "
                f"(a run that goes on may change {changeable})"
            )

    def _check_state(self, step: int, stored: Any, template: Any) -> None:
        old = traverse_util.flatten_dict(stored.tree, sep="/")
        new = traverse_util.flatten_dict(_by_name(template), sep="/")
        differences = [
            f"{name} was {_kind(old.get(name))}, is {_kind(new.get(name))}"
            for name in sorted(old.keys() | new.keys())
            if _kind(old.get(name)) != _kind(new.get(name))
        ]
        if differences:
            raise CheckpointError(
                f"checkpoint {step} in {self._directory} holds another state: {_listed(differences)}; "
                "give the configuration that wrote it, or another directory"
            )

    def _explained(self, verb: str) -> "_Explained":
        return _Explained(self._directory, verb)


class _Explained:
    """Turns what Orbax raises (anything, with pages of its internals) into one line."""

    def __init__(self, directory: pathlib.Path, verb: str):
        self._directory, self._verb = directory, verb

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, Exception):
            reason = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)[:200]
            mend = {"written": "see to space and rights", "read": "remove the damaged one"}[self._verb]
            raise CheckpointError(
                f"a checkpoint in {self._directory} cannot be {self._verb} ({reason}); {mend} and start again"
            ) from error


def _preservation(retention: Retention):
    from orbax.checkpoint import checkpoint_managers as policies

    kept = [policies.LatestN(retention.last)]
    if retention.every:
        kept.append(policies.EveryNSteps(retention.every))
    if retention.best_metric:
        kept.append(
            policies.BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False),
        )
    return policies.AnyPreservationPolicy(kept)


def _handlers():
    """Who reads which item, so that a new process can describe a checkpoint before it reads it."""
    import orbax.checkpoint as ocp

    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for item in ("state", "buffer"):
        arrays = ocp.StandardCheckpointHandler()
        registry.add(item, ocp.args.StandardSave, arrays)
        registry.add(item, ocp.args.StandardRestore, arrays)
    record = ocp.JsonCheckpointHandler()
    registry.add("record", ocp.args.JsonSave, record)
    registry.add("record", ocp.args.JsonRestore, record)
    return registry


def _rank(metrics: Mapping[str, float]) -> float:
    return metrics["rank"]


def _by_name(tree: Any) -> dict[str, Any]:
    """A nested dict of strings, so that a file does not depend on the classes of the state."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return traverse_util.unflatten_dict({_names(path): leaf for path, leaf in leaves})


def _like(template: Any, named: Mapping[str, Any]) -> Any:
    flat = traverse_util.flatten_dict(named)
    return jax.tree_util.tree_map_with_path(lambda path, _: flat[_names(path)], template)


def _names(path: tuple) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _target(leaf: Any) -> jax.ShapeDtypeStruct:
    placed = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed)


def _kind(leaf: Any) -> str:
    return "absent" if leaf is None else f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def _buffer(layout: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays as they were; Orbax does not write those without elements."""
    return {
        name: np.asarray(arrays[name]) if name in arrays else np.zeros(shape, dtype)
        for name, (dtype, shape) in layout.items()
    }


def _to_json(position: Any) -> Any:
    return {"bytes": position.hex()} if isinstance(position, bytes) else {"json": position}


def _from_json(stored: Mapping[str, Any]) -> Any:
    return bytes.fromhex(stored["bytes"]) if "bytes" in stored else stored["json"]


def _flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_fields("", json.loads(json.dumps(config))))


def _fields(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield prefix, value
        return
    for name, inner in value.items():
        yield from _fields(f"{prefix}.{name}" if prefix else name, inner)


def _is_named(name: str, names: Collection[str]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in names)


def _shown(fields: Mapping[str, Any], name: str) -> str:
    return json.dumps(fields[name])[:80] if name in fields else "absent"


def _listed(differences: list[str]) -> str:
    more = len(differences) - _SHOWN
    return "; ".join(differences[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
