"""ImageSettings: reading a model directory's image processor files of both generations."""

import json

import pytest

from vigorl_jax.processing.frames import Frame
from vigorl_jax.processing.model_files import write_processor_files
from vigorl_jax.processing.settings import ImageSettings

SETTINGS = ImageSettings(min_pixels=4000, max_pixels=90_000, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))


def write(directory, name="preprocessor_config.json", **values):
    (directory / name).write_text(json.dumps(values))
    return directory


def test_both_namings_of_the_limits_are_read(tmp_path):
    old = ImageSettings.from_model_dir(write(tmp_path, min_pixels=3136, max_pixels=12845056))
    new = ImageSettings.from_model_dir(
        write(tmp_path, size={"shortest_edge": 3136, "longest_edge": 12845056})
    )
    assert old == new == ImageSettings(max_pixels=12845056)


def test_the_combined_file_of_newer_processors_is_read(tmp_path):
    inner = {
        "size": {"shortest_edge": 784, "longest_edge": 7840},
        "image_mean": [0, 0, 0],
        "image_std": [1, 1, 1],
    }
    settings = ImageSettings.from_model_dir(write(tmp_path, "processor_config.json", image_processor=inner))
    assert settings == ImageSettings(min_pixels=784, max_pixels=7840, mean=(0, 0, 0), std=(1, 1, 1))


def test_what_we_write_transformers_and_we_read_alike(tmp_path):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    write_processor_files(tmp_path, SETTINGS)
    assert ImageSettings.from_model_dir(tmp_path) == SETTINGS
    theirs = Qwen2VLImageProcessorPil.from_pretrained(tmp_path)
    assert (theirs.size["shortest_edge"], theirs.size["longest_edge"]) == (4000, 90_000)
    assert tuple(theirs.image_mean) == SETTINGS.mean
    assert tuple(theirs.image_std) == SETTINGS.std


def test_left_out_fields_take_the_defaults_of_transformers(tmp_path):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    ours, theirs = ImageSettings.from_model_dir(write(tmp_path)), Qwen2VLImageProcessorPil()
    assert (ours.min_pixels, ours.max_pixels) == (theirs.size["shortest_edge"], theirs.size["longest_edge"])
    assert (ours.mean, ours.std) == (tuple(theirs.image_mean), tuple(theirs.image_std))
    assert (ours.patch_size, ours.merge_size) == (theirs.patch_size, theirs.merge_size)


def test_an_image_of_205_by_150_pixels_takes_35_tokens():
    settings = ImageSettings()
    frame = settings.model_frame(205, 150)
    assert frame == Frame((0, 0, 205, 150), 196, 140)
    assert settings.grid(frame) == (1, 10, 14)
    assert settings.num_tokens((1, 10, 14)) == 35


def test_a_frame_that_is_not_whole_units_has_no_grid():
    with pytest.raises(ValueError, match="30 x 28 pixels are not whole units of 28"):
        ImageSettings().grid(Frame.original(30, 28))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_pixels": 0.5}, "min_pixels must be a whole number"),
        ({"patch_size": 0, "max_pixels": 10**6}, "patch_size must be a whole number of at least 1, got 0"),
        ({"min_pixels": 9, "max_pixels": 4}, "min_pixels 9 is above max_pixels 4"),
        ({"image_mean": [0.5]}, "need three finite numbers"),
        ({"image_std": [1, 0, 1]}, "std must be positive"),
        ({"image_std": "abc"}, "preprocessor_config.json: .*"),
        ({"resample": 2}, "resample is 2; only 3 is supported"),
        ({"do_normalize": False}, "do_normalize is False"),
        ({"rescale_factor": 1.0}, "rescale_factor is 1.0; only 1/255"),
    ],
)
def test_unusable_values_are_refused_with_the_file_named(tmp_path, values, message):
    with pytest.raises(ValueError, match=message) as error:
        ImageSettings.from_model_dir(write(tmp_path, **values))
    assert "preprocessor_config.json" in str(error.value)


def test_missing_and_broken_files_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"holds neither preprocessor_config\.json nor processor_config\.json"
    ):
        ImageSettings.from_model_dir(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        ImageSettings.from_model_dir(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds a list; an object was expected"):
        ImageSettings.from_model_dir(tmp_path)
