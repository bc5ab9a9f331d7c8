"""Compiling for less time."""

import os

import pytest

from vigorl_jax.runs.compiled import compile_fast


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "--xla_backend_optimization_level=1"),
        ("--xla_dump_to=x", "--xla_dump_to=x --xla_backend_optimization_level=1"),
        ("--xla_backend_optimization_level=3", "--xla_backend_optimization_level=3"),
    ],
)
def test_flags_of_the_user_stay(monkeypatch, before, after):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if before is not None:
        monkeypatch.setenv("XLA_FLAGS", before)
    compile_fast()
    assert os.environ["XLA_FLAGS"] == after
