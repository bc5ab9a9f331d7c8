"""The text half of processing starts without JAX, torch and transformers, so that data code can use it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["decode", "frames", "settings", "resample", "tokenizer", "chat"])
def test_importing_it_imports_no_heavy_library(module):
    program = (
        f"import sys, vigorl_jax.processing.{module}; "
        "print(sorted({'jax', 'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
