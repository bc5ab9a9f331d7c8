"""The parity binary, from image files to its verdict, as a user runs it."""

import json

import numpy as np
import pytest
from PIL import Image

from vigorl_jax.testing.models import tiny_config


def test_a_photograph_and_a_drawing_go_from_files_to_equal_logits(
    run_binary, model_dir, photograph, tmp_path
):
    drawing = tmp_path / "drawing.png"
    Image.fromarray(np.arange(60 * 90 * 3, dtype=np.uint8).reshape(60, 90, 3)).save(drawing)
    out = tmp_path / "out"
    images = ["--image", photograph, "--image", drawing]
    result = run_binary("parity", "--model", model_dir, *images, "--text", "Who?", "--output_dir", out)
    assert result.returncode == 0, result.stderr
    report = json.loads((out / "parity.json").read_text())
    assert report["passed"]
    assert report["input_ids_equal"]
    assert report["position_ids_equal"]
    assert report["patches_equal"]
    assert next(iter(report["modules"])) == "visual.patch_embed"
    assert max(module["max_relative"] for module in report["modules"].values()) < 1e-5
    arrays = np.load(out / "arrays.npz")
    tokens = arrays["input_ids"]
    # The photograph of 600 x 512 becomes 448 x 364 pixels at most 448 x 448 in area, the drawing 56 x 84.
    image_tokens = int((tokens == tiny_config().image_token_id).sum())
    assert image_tokens == len(arrays["image_embeds"])
    assert image_tokens > 2 * 3
    assert arrays["logits"].shape == (1, tokens.shape[1], tiny_config().text.vocab_size)
    assert arrays["position_ids"].shape == (3, 1, tokens.shape[1])
    assert "logits" in result.stdout


def test_a_difference_above_the_tolerance_is_a_failure_with_its_numbers_written(run_binary, tmp_path):
    flags = ["--text", "Hello", "--dtype", "bfloat16", "--stage_tolerance", "1e-9"]
    result = run_binary("parity", *flags, "--output_dir", tmp_path)
    assert result.returncode == 1
    report = json.loads((tmp_path / "parity.json").read_text())
    assert not report["passed"]
    assert report["dtype"] == "bfloat16"
    assert 1e-9 < max(module["max_relative"] for module in report["modules"].values()) < 0.1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--image", "absent.jpg"], "absent.jpg"),
        (["--model", "absent"], "absent holds neither preprocessor_config.json"),
        (["stray"], "parity: unexpected argument 'stray'"),
    ],
)
def test_wrong_input_gives_one_line_and_no_traceback(run_binary, flags, message):
    result = run_binary("parity", *flags)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
