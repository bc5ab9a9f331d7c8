"""What tests of binaries share: running one as a user does, a photograph, a tiny model directory."""

import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest
from matplotlib import cbook

from vigorl_jax.testing.models import write_tiny_model

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def run_binary() -> Callable[..., subprocess.CompletedProcess]:
    """run_binary(name, *flags) starts `python -m experiments.name` from the repository's root."""

    def run(name: str, *flags: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", f"experiments.{name}", *map(str, flags)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture(scope="session")
def photograph() -> pathlib.Path:
    """A JPEG of 512 x 600 pixels, in the public domain."""
    return pathlib.Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> pathlib.Path:
    """A model directory of `tiny_config` with random weights; read only."""
    path = tmp_path_factory.mktemp("model")
    write_tiny_model(path)
    return path
