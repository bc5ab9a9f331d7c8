"""ImageSettings: the numbers of a model directory's image processor."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping

from vigorl_jax.processing.frames import Frame, smart_resize

Grid = tuple[int, int, int]

_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclasses.dataclass(frozen=True)
class ImageSettings:
    """How images become patches.

    Attributes:
      min_pixels: Least area of an image as the model sees it, in pixels.
      max_pixels: Greatest area of an image as the model sees it, in pixels.
      patch_size: Side of a patch, in pixels.
      temporal_patch_size: Times that a still image is repeated in a patch.
      merge_size: Side of the square of patches that become one token.
      mean: Subtracted from each channel of red, green, blue in 0..1.
      std: Divides each channel afterwards.
    """

    min_pixels: int = 56 * 56
    max_pixels: int = 28 * 28 * 1280
    patch_size: int = 14
    temporal_patch_size: int = 2
    merge_size: int = 2
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self) -> None:
        """Refuses values that no image can satisfy."""
        for name in ("min_pixels", "max_pixels", "patch_size", "temporal_patch_size", "merge_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"ImageSettings.{name} must be a whole number of at least 1, got {value!r}")
        if self.min_pixels > self.max_pixels:
            raise ValueError(
                f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}; swap or change them"
            )
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ValueError(f"mean and std need three finite numbers each, got {self.mean} and {self.std}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")

    @property
    def unit(self) -> int:
        """Side of the square of pixels behind one token: 28."""
        return self.patch_size * self.merge_size

    def model_frame(self, width: int, height: int) -> Frame:
        """The frame in which the model sees an original of width x height; refuses what `smart_resize` refuses."""
        new_height, new_width = smart_resize(
            height, width, unit=self.unit, min_pixels=self.min_pixels, max_pixels=self.max_pixels
        )
        return Frame.original(width, height).resized(new_width, new_height)

    def grid(self, frame: Frame) -> Grid:
        """(t, h, w) in patches of a frame whose sides are whole units: (1, 10, 14) for 196 x 140 pixels."""
        if frame.width % self.unit or frame.height % self.unit:
            raise ValueError(
                f"{frame.width} x {frame.height} pixels are not whole units of {self.unit}; resize them first"
            )
        return 1, frame.height // self.patch_size, frame.width // self.patch_size

    def num_tokens(self, grid: Grid) -> int:
        """Tokens that an image of this grid takes in the text: (1, 10, 14) gives 35."""
        return math.prod(grid) // self.merge_size**2

    @classmethod
    def from_model_dir(cls, model_dir: str | pathlib.Path) -> "ImageSettings":
        """Reads preprocessor_config.json, or the image part of processor_config.json.

        Both namings of the limits are known: min_pixels and max_pixels, and size with shortest_edge and longest_edge
        (areas in pixels, in spite of the name). Fields that the file leaves out take the defaults of transformers.

        Raises:
          ValueError: no such file, not JSON, unusable values, or a kind of processing that the model does not use.
        """
        for name in _FILES:
            path = pathlib.Path(model_dir) / name
            if path.is_file():
                return cls._from_mapping(_read_json(path), path)
        raise ValueError(
            f"{model_dir} holds neither {_FILES[0]} nor {_FILES[1]}: it is not a model directory of this family"
        )

    @classmethod
    def _from_mapping(cls, mapping: Mapping, path: pathlib.Path) -> "ImageSettings":
        mapping = mapping.get("image_processor", mapping)
        size = mapping.get("size") or {}
        found = {
            "min_pixels": mapping.get("min_pixels") or size.get("min_pixels") or size.get("shortest_edge"),
            "max_pixels": mapping.get("max_pixels") or size.get("max_pixels") or size.get("longest_edge"),
            **{name: mapping.get(name) for name in ("patch_size", "temporal_patch_size", "merge_size")},
            **{name: mapping.get(f"image_{name}") for name in ("mean", "std")},
        }
        _check_processing(mapping, path)
        try:
            values = {
                name: tuple(v) if isinstance(v, list) else v for name, v in found.items() if v is not None
            }
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error


def _read_json(path: pathlib.Path) -> Mapping:
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(mapping, dict):
        raise ValueError(f"{path} holds a {type(mapping).__name__}; an object was expected")
    return mapping


def _check_processing(mapping: Mapping, path: pathlib.Path) -> None:
    bicubic = 3  # Pillow's number for it
    expected = {"resample": bicubic, "do_resize": True, "do_rescale": True, "do_normalize": True}
    for name, value in expected.items():
        if mapping.get(name, value) != value:
            raise ValueError(f"{path}: {name} is {mapping[name]!r}; only {value!r} is supported")
    factor = mapping.get("rescale_factor", 1 / 255)
    if abs(factor * 255 - 1) > 1e-6:
        raise ValueError(f"{path}: rescale_factor is {factor!r}; only 1/255 is supported")
