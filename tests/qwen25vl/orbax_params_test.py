"""Parameters in an Orbax directory: exact, typed, sharded, and complete or absent."""

import jax
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vigorl_jax.qwen25vl import orbax_params, weight_names
from vigorl_jax.qwen25vl.config import Config, ConfigError, TextConfig, VisionConfig
from vigorl_jax.qwen25vl.weights import WeightsError

CONFIG = Config(
    VisionConfig(1, 16, 24, 2, 4, 2, 3, 2, 16, (0,), 32),
    TextConfig(64, 32, 40, 1, 2, 1, 16, 1e-6, 1e4, (2, 3, 3), False, 512),
    *(60, 61, 62, 63, 1, (2,), 0),
)


@pytest.fixture(scope="module")
def params() -> dict:
    rng = np.random.default_rng(0)
    flat = {
        p.path: rng.normal(size=p.shape).astype(jax.numpy.bfloat16) for p in weight_names.parameters(CONFIG)
    }
    return traverse_util.unflatten_dict(flat, sep="/")


def test_round_trip_keeps_every_bit_and_type(params, tmp_path):
    orbax_params.save(tmp_path / "new", CONFIG, params)
    config, loaded = orbax_params.load(tmp_path / "new")
    assert config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(loaded)} == {"bfloat16"}
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))


def test_load_casts_and_shards_on_the_way(params, tmp_path):
    orbax_params.save(tmp_path / "new", CONFIG, params)
    mesh = Mesh(np.array(jax.devices()), ("fsdp",))
    placed = NamedSharding(mesh, PartitionSpec("fsdp"))
    loaded = orbax_params.load(tmp_path / "new", dtype="float32", shardings=lambda path: placed)[1]
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, np.asarray(b, np.float32)), loaded, params)
    kernel = loaded["visual"]["patch_embed"]["kernel"]
    assert kernel.sharding.is_equivalent_to(placed, 2)
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(12, 16)}


def test_save_refuses_a_directory_with_parameters_and_a_tree_that_does_not_fit(params, tmp_path):
    orbax_params.save(tmp_path / "new", CONFIG, params)
    with pytest.raises(
        WeightsError, match=r"new already holds parameters; wanted a new directory; remove it"
    ):
        orbax_params.save(tmp_path / "new", CONFIG, params)
    with pytest.raises(WeightsError, match=r"36 missing: visual/.*; pass the tree"):
        orbax_params.save(tmp_path / "other", CONFIG, {"lm_head": params["lm_head"]})


def test_load_names_what_is_absent_damaged_or_of_another_model(params, tmp_path):
    with pytest.raises(ConfigError, match=r"absent/config.json: No such file"):
        orbax_params.load(tmp_path / "absent")
    orbax_params.save(tmp_path / "new", CONFIG, params)
    fields = (tmp_path / "new/config.json").read_text()
    (tmp_path / "new/config.json").write_text(fields.replace('"vocab_size": 64', '"vocab_size": 65'))
    with pytest.raises(WeightsError, match=r"embedding \[64, 32\], wanted \[65, 32\]"):
        orbax_params.load(tmp_path / "new")
    (tmp_path / "new/config.json").write_text(fields)
    (tmp_path / "new/params/_METADATA").write_text("{")
    with pytest.raises(WeightsError, match=r"new/params cannot be read .*; convert it again"):
        orbax_params.load(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/config.json").write_text(fields)
    with pytest.raises(
        WeightsError, match=r"empty has no params; give a directory that convert_weights wrote"
    ):
        orbax_params.load(tmp_path / "empty")
