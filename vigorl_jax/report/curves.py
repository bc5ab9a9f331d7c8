"""Learning curves as a picture."""

import os
import pathlib
from collections.abc import Mapping, Sequence

_WINDOW = 5  # steps of the running mean


def plot(
    curves: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str],
    *,
    title: str,
    label: str,
    chance: float | None = None,
) -> pathlib.Path:
    """Draws a value at each step of some runs, as running means over the last 5 steps and, faintly, as it is.

    Args:
      curves: by the name of the run; values of steps 1, 2, ...
      path: of the picture; its suffix says the format.
      title: above it.
      label: of the vertical axis.
      chance: a value to compare with, drawn as a line.

    Raises:
      ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("curves are drawn by matplotlib; pip install matplotlib") from error
    figure = Figure(figsize=(7, 4), dpi=144, layout="constrained")
    axes = figure.add_subplot()
    for name, values in curves.items():
        steps = range(1, len(values) + 1)
        (line,) = axes.plot(steps, running_mean(values), label=name)
        axes.plot(steps, values, color=line.get_color(), alpha=0.25, linewidth=0.8)
    if chance is not None:
        axes.axhline(chance, color="grey", linestyle=":", label="chance")
    axes.set(title=title, xlabel="step", ylabel=label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
    return pathlib.Path(path)


def running_mean(values: Sequence[float]) -> list[float]:
    """Means of each value and the up to 4 before it: 1, 3, 5 give 1, 2, 3."""
    windows = [values[max(0, end - _WINDOW) : end] for end in range(1, len(values) + 1)]
    return [sum(window) / len(window) for window in windows]
