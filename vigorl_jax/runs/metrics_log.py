"""The metrics of a run on disk: `metrics.jsonl`, TensorBoard events, and Weights & Biases where asked for."""

import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

FILE_NAME = "metrics.jsonl"
# What is not the same in two runs of one configuration: durations and memory.
MACHINE_PREFIXES = ("time/", "memory/")


class MetricsError(ValueError):
    """Metrics that cannot be logged."""


class Log(Protocol):
    """Takes the metrics of one step after another."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of a step."""

    def close(self) -> None:
        """Ends the log; what was written is then on disk."""


class JsonLines:
    """`metrics.jsonl`: one line a step, {"step": 3, "loss": 0.25, ...}; a number that is not finite is null.

    Lines of steps after `step` are cut first: they belong to work that a killed process did not keep.
    """

    def __init__(self, directory: pathlib.Path, step: int):
        self._path = directory / FILE_NAME
        cut(self._path, step)
        self._file = self._path.open("a", encoding="utf-8")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends a line; a killed process leaves whole lines but for the last."""
        values = {name: _finite(name, value) for name, value in metrics.items()}
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def cut(path: pathlib.Path, step: int) -> None:
    """Removes the lines of later steps, and an incomplete last line."""
    if not path.exists():
        return
    kept = 0
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
            kept += len(line)
    os.truncate(path, kept)


def amend(path: pathlib.Path, step: int, metrics: Mapping[str, float]) -> None:
    """Adds metrics to the line of a step, which must be the last; no line, nothing to add to."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if not lines or (old := json.loads(lines[-1]))["step"] != step:
        return
    values = {name: _finite(name, value) for name, value in metrics.items()}
    # Written over the old line, so that a killed process does not leave the log without it.
    with path.open("r+b") as file:
        file.seek(-len(lines[-1]), os.SEEK_END)
        file.write((json.dumps({**old, **values}) + "\n").encode())
        file.truncate()


def read(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, in order; none where there is no file."""
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


class TensorBoard:
    """Scalars as TensorBoard events. TensorBoard drops what an earlier process logged after `step`."""

    def __init__(self, directory: pathlib.Path, step: int):
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1, flush_secs=30)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs each metric under its name."""
        for name, value in metrics.items():
            self._writer.add_scalar(name.replace(" ", "_"), value, step)

    def close(self) -> None:
        """Writes what is pending."""
        self._writer.close()


class WeightsAndBiases:
    """Metrics sent to a Weights & Biases project; a run that goes on keeps its id, stored in the work directory.

    Raises:
      MetricsError: the package is not installed.
    """

    def __init__(self, directory: pathlib.Path, project: str, config: Mapping[str, Any]):
        try:
            import wandb
        except ImportError as error:
            raise MetricsError(
                f"project {project!r} needs the package wandb; pip install 'vigorl_jax[wandb]', or give no project"
            ) from error
        identity = directory / "wandb_id"
        if not identity.exists():
            identity.write_text(wandb.util.generate_id(), encoding="utf-8")
        self._run = wandb.init(
            project=project,
            id=identity.read_text(encoding="utf-8"),
            resume="allow",
            dir=str(directory),
            config=dict(config),
        )

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Sends the metrics of a step."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Sends what is pending."""
        self._run.finish()


def _finite(name: str, value: float) -> float | int | None:
    try:
        number = value if isinstance(value, int) else float(value)
    except (TypeError, ValueError) as error:
        raise MetricsError(f"metric {name!r} is {value!r}; wanted a number") from error
    return number if math.isfinite(number) else None
