"""Both directions of convert_weights, and what it refuses, as a user runs it and as one call."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file

from vigorl_jax.qwen25vl import orbax_params, weight_names, weights
from vigorl_jax.qwen25vl.config import Config, TextConfig, VisionConfig
from vigorl_jax.qwen25vl.conversion import Conversion, convert

CONFIG = Config(
    VisionConfig(1, 16, 24, 2, 4, 2, 3, 2, 16, (0,), 32),
    TextConfig(64, 32, 40, 1, 2, 1, 16, 1e-6, 1e4, (2, 3, 3), True, 512),
    *(60, 61, 62, 63, 1, (2,), 0),
)
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def model_dir(tmp_path) -> pathlib.Path:
    rng = np.random.default_rng(0)
    flat = {p.path: rng.normal(size=p.shape).astype(np.float32) for p in weight_names.parameters(CONFIG)}
    weights.save(tmp_path / "model", CONFIG, traverse_util.unflatten_dict(flat, sep="/"))
    (tmp_path / "model/tokenizer.json").write_text('{"kept": true}')
    return tmp_path / "model"


def conversion(source, target, **fields) -> Conversion:
    return dataclasses.replace(Conversion(source, target, None, 5e9, False), **fields)


def run(*flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.convert_weights", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=os.environ)


def test_there_and_back_gives_the_same_bytes(model_dir, tmp_path):
    there = run(f"--input={model_dir}", f"--output={tmp_path / 'orbax'}")
    assert (there.returncode, there.stderr) == (0, "")
    assert there.stdout.startswith(f"{tmp_path / 'orbax'}: Orbax layout, 36 parameters, 7.7e-05 GB, ")
    assert sorted(os.listdir(tmp_path / "orbax")) == ["config.json", "params", "tokenizer.json"]
    convert(conversion(tmp_path / "orbax", tmp_path / "back"))
    assert sorted(os.listdir(tmp_path / "back")) == sorted(os.listdir(model_dir))
    for name in os.listdir(model_dir):
        assert (tmp_path / "back" / name).read_bytes() == (model_dir / name).read_bytes(), name


def test_dtype_and_shard_size_reach_the_files(model_dir, tmp_path):
    convert(conversion(model_dir, tmp_path / "orbax", dtype="bfloat16"))
    loaded = orbax_params.load(tmp_path / "orbax")[1]
    assert loaded["visual"]["patch_embed"]["kernel"].dtype.name == "bfloat16"
    line = convert(conversion(tmp_path / "orbax", tmp_path / "back", dtype="float16", max_shard_bytes=10_000))
    assert "Hugging Face layout, 36 parameters" in line
    files = list((tmp_path / "back").glob("model-*.safetensors"))
    assert len(files) > 1
    assert max(sum(t.nbytes for t in load_file(f).values()) for f in files) <= 10_000
    assert {t.dtype.name for f in files for t in load_file(f).values()} == {"float16"}
    assert json.loads((tmp_path / "back/config.json").read_text())["torch_dtype"] == "float16"


def test_overwrite_replaces_the_whole_directory_of_a_model_only(model_dir, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    convert(conversion(model_dir, target))
    (target / "stale.txt").write_text("old")
    with pytest.raises(
        ValueError, match=r"output .*target is not empty; give another --output, or --overwrite"
    ):
        convert(conversion(model_dir, target))
    convert(conversion(model_dir, target, overwrite=True))
    assert sorted(os.listdir(target)) == ["config.json", "params", "tokenizer.json"]
    (target / "config.json").unlink()
    with pytest.raises(
        ValueError, match=r"target holds no config.json, so it is no model; remove it yourself"
    ):
        convert(conversion(model_dir, target, overwrite=True))
    assert sorted(os.listdir(target)) == ["params", "tokenizer.json"]


@pytest.mark.parametrize("place", [".", "inside", ".."])
def test_overlapping_directories_are_refused(place, model_dir):
    with pytest.raises(ValueError, match=r"overlap; wanted two directories; move one"):
        convert(conversion(model_dir, model_dir / place, overwrite=True))
    assert (model_dir / "model.safetensors").exists()


def test_output_that_is_a_file_is_refused(model_dir, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"file is a file; wanted a directory; give another --output"):
        convert(conversion(model_dir, tmp_path / "file", overwrite=True))


def test_failure_leaves_the_old_output_and_no_scratch(model_dir, tmp_path):
    convert(conversion(model_dir, tmp_path / "target"))
    (model_dir / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"model.safetensors is no readable safetensors file"):
        convert(conversion(model_dir, tmp_path / "target", overwrite=True))
    assert sorted(os.listdir(tmp_path)) == ["model", "target"]
    orbax_params.load(tmp_path / "target")


def test_damaged_orbax_numbers_end_in_one_line_and_a_failure(model_dir, tmp_path):
    convert(conversion(model_dir, tmp_path / "orbax"))
    files = (path for path in (tmp_path / "orbax/params").rglob("*") if path.is_file())
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    damaged = run(f"--input={tmp_path / 'orbax'}", f"--output={tmp_path / 'out'}")
    assert (damaged.returncode, damaged.stdout) == (1, "")
    assert damaged.stderr.count("\n") == 1
    assert damaged.stderr.startswith(f"convert_weights: {tmp_path / 'orbax/params'} cannot be read (")
    assert damaged.stderr.endswith("; convert it again\n")
    assert not (tmp_path / "out").exists()


def test_wrong_input_and_wrong_flags_end_in_one_line_and_a_failure(tmp_path):
    absent = run(f"--input={tmp_path / 'absent'}", f"--output={tmp_path / 'out'}")
    wanted = "config.json: No such file or directory; wanted a model directory with a config.json\n"
    assert (absent.returncode, absent.stderr) == (1, f"convert_weights: {tmp_path / 'absent'}/{wanted}")
    flags = run("--input=a", "--output=b", "--dtype=int8")
    assert flags.returncode == 1
    assert "--dtype=int8: value should be one of <float32|bfloat16|float16>" in flags.stderr
    extra = run("--input=a", "--output=b", "c")
    assert extra.returncode == 1
    assert "unexpected argument 'c'; every choice is a --flag" in extra.stderr
    assert not any("Traceback" in result.stderr for result in (absent, flags, extra))
