"""Groups of episodes as bytes and back, equal bit for bit: what processes exchange, and what a checkpoint holds.

The bytes are a NumPy archive: a JSON record of all that is text or number, and an array for each image.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from vigorl_jax.processing.patches import Patches
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.episode_files import frame_from_json, from_json, to_json
from vigorl_jax.reasoning.zoom import View, make_view
from vigorl_jax.training.distributed import all_gather_bytes

Groups = list[list[Episode]]
_RECORD = "record"


def to_bytes(groups: Sequence[Sequence[Episode]]) -> bytes:
    """The groups in bytes; an image that episodes share is stored once."""
    views = {id(view): view for group in groups for episode in group for view in episode.views}
    names = {key: f"view_{number}" for number, key in enumerate(views)}
    originals = {id(data): data for group in groups for episode in group for data in episode.example.images}
    files = {key: f"file_{number}" for number, key in enumerate(originals)}
    record = {
        "groups": [
            [
                {
                    "episode": to_json(episode, [names[id(view)] for view in episode.views]),
                    "files": [files[id(data)] for data in episode.example.images],
                }
                for episode in group
            ]
            for group in groups
        ],
        "grids": {names[key]: view.patches.grids for key, view in views.items()},
    }
    arrays = {names[key]: np.asarray(view.patches.pixels) for key, view in views.items()}
    arrays |= {files[key]: np.frombuffer(data, np.uint8) for key, data in originals.items()}
    stream = io.BytesIO()
    np.savez(stream, **{_RECORD: np.frombuffer(_encoded(record), np.uint8)}, **arrays)
    return stream.getvalue()


def from_bytes(data: bytes, settings: ImageSettings) -> Groups:
    """The groups that `to_bytes` was given; images that were shared are shared again.

    Args:
      data: What `to_bytes` returned.
      settings: The model's image settings.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        record = json.loads(arrays[_RECORD].tobytes())
        views: dict[str, View] = {}
        files: dict[str, bytes] = {}
        for entry in (entry for group in record["groups"] for entry in group):
            files |= {name: arrays[name].tobytes() for name in entry["files"] if name not in files}
            for name, frame in entry["episode"]["frames"].items():
                if name not in views:
                    views[name] = _view(frame, arrays[name], record["grids"][name], settings)
        return [[_episode(entry, files, views) for entry in group] for group in record["groups"]]


def gather(groups: Groups, settings: ImageSettings) -> Groups:
    """The groups of all processes in the order of the processes; every process must call it."""
    parts = all_gather_bytes(to_bytes(groups))
    return [group for part in parts for group in from_bytes(part, settings)]


def _encoded(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode()


def _view(
    frame: Mapping[str, Any], pixels: np.ndarray, grids: Iterable[Sequence[int]], settings: ImageSettings
) -> View:
    patches = Patches(jnp.asarray(pixels), tuple(tuple(grid) for grid in grids))
    return make_view(frame_from_json(frame), patches, settings)


def _episode(entry: Mapping[str, Any], files: Mapping[str, bytes], views: Mapping[str, View]) -> Episode:
    return from_json(entry["episode"], [files[name] for name in entry["files"]], views)
