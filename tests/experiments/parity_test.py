"""The parity binary, from image files to its verdict, as a user runs it."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image

from vigorl_jax.testing.models import tiny_config, write_tiny_model

ROOT = pathlib.Path(__file__).parents[2]
PHOTOGRAPH = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)


def _run(*flags) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.parity", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("model")
    write_tiny_model(path)
    return path


def test_a_photograph_and_a_drawing_go_from_files_to_equal_logits(model_dir, tmp_path):
    drawing = tmp_path / "drawing.png"
    Image.fromarray(np.arange(60 * 90 * 3, dtype=np.uint8).reshape(60, 90, 3)).save(drawing)
    out = tmp_path / "out"
    result = _run("--model", model_dir, "--image", PHOTOGRAPH, "--image", drawing, "--text", "Who?", "--output_dir", out)
    assert result.returncode == 0, result.stderr
    report = json.loads((out / "parity.json").read_text())
    assert report["passed"]
    assert report["input_ids_equal"]
    assert report["position_ids_equal"]
    assert report["patches_equal"]
    assert list(report["modules"])[0] == "visual.patch_embed"
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


def test_a_difference_above_the_tolerance_is_a_failure_with_its_numbers_written(tmp_path):
    result = _run("--text", "Hello", "--dtype", "bfloat16", "--stage_tolerance", "1e-9", "--output_dir", tmp_path)
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
def test_wrong_input_gives_one_line_and_no_traceback(flags, message):
    result = _run(*flags)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
