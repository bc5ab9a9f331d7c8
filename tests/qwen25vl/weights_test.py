"""Weights against PyTorch: exact round trips, every number in its place, nothing held twice."""

import collections
import gc
import json
import math
import pathlib
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safetensors.numpy import load_file, save_file

from vigorl_jax.qwen25vl import weight_names, weights
from vigorl_jax.qwen25vl.config import Config, TextConfig, VisionConfig

VISION = VisionConfig(2, 32, 40, 2, 4, 2, 3, 2, 16, (1,), 48)
IDS = {"image_token_id": 90, "video_token_id": 91, "vision_start_token_id": 92, "vision_end_token_id": 93}
ENDS = {"bos_token_id": 1, "eos_token_id": (2,), "pad_token_id": 0}


def tiny(tied: bool) -> Config:
    text = TextConfig(96, 48, 56, 3, 3, 1, 16, 1e-6, 1e4, (2, 3, 3), tied, 512)
    return Config(VISION, text, **IDS, **ENDS)


def torch_model(tied: bool, dtype: str = "float32"):
    """A transformers model with every number random, biases and norms too."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_dict(tiny(tied).to_hf()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model.to(getattr(torch, dtype)).eval()


def stored(directory: pathlib.Path) -> dict[str, np.ndarray]:
    tensors = {}
    for file in directory.glob("*.safetensors"):
        tensors |= load_file(file)
    return tensors


def random_params(config: Config, dtype=np.float32) -> dict:
    rng = np.random.default_rng(0)
    flat = {p.path: rng.normal(size=p.shape).astype(dtype) for p in weight_names.parameters(config)}
    return traverse_util.unflatten_dict(flat, sep="/")


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert (value.dtype, value.shape) == (second[name].dtype, second[name].shape), name
        assert np.asarray(value).tobytes() == np.asarray(second[name]).tobytes(), name


@pytest.mark.parametrize("dtype", weights.DTYPES)
@pytest.mark.parametrize("tied", [True, False])
def test_round_trip_from_transformers_is_exact_with_the_same_names(tied, dtype, tmp_path):
    torch_model(tied, dtype).save_pretrained(tmp_path / "theirs")
    config, params = weights.load(tmp_path / "theirs")
    assert config == tiny(tied)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {dtype}
    weights.save(tmp_path / "ours", config, params)
    assert_same_bits(stored(tmp_path / "theirs"), stored(tmp_path / "ours"))
    assert ("lm_head.weight" in stored(tmp_path / "ours")) is not tied


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_loads_what_we_save_with_the_same_parameters_and_logits(tied, tmp_path):
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    torch_model(tied, "bfloat16").save_pretrained(tmp_path / "theirs")
    # Loaded, for `to(bfloat16)` also rounds the rotary frequencies, which loading does not.
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path / "theirs").eval()
    weights.save(tmp_path / "ours", *weights.load(tmp_path / "theirs"), max_shard_bytes=40_000)
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 3
    again, report = type(model).from_pretrained(tmp_path / "ours", output_loading_info=True)
    again.eval()
    assert not any(report.values()), report
    assert again.dtype == torch.bfloat16
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    inputs = one_image_and_text(model)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, again(**inputs).logits)


def one_image_and_text(model) -> dict:
    """[3 text][a 16 x 24 pixel image: 4 x 6 patches, 6 tokens][2 text]."""
    import torch

    ids = torch.tensor([[5, 6, 92] + [90] * 6 + [93, 7]])
    return {
        "input_ids": ids,
        "mm_token_type_ids": (ids == 90).int(),
        "pixel_values": torch.randn(24, 96, generator=torch.manual_seed(1)).to(model.dtype),
        "image_grid_thw": torch.tensor([[1, 4, 6]]),
    }


def test_parameters_are_the_modules_of_the_torch_model_computed_on_the_same_input(tmp_path):
    """x @ kernel + bias equals the PyTorch module, so a swapped or untransposed tensor cannot pass."""
    import torch

    model = torch_model(tied=False)
    model.save_pretrained(tmp_path)
    params = jax.device_get(weights.load(tmp_path)[1])
    tower, words = model.model.visual, model.model.language_model
    flat = traverse_util.flatten_dict(params, sep="/")

    def linear(path, x):
        return x @ flat[f"{path}/kernel"] + flat.get(f"{path}/bias", 0)

    def check(path, module):
        x = np.random.default_rng(0).normal(size=(5, flat[f"{path}/kernel"].shape[0])).astype(np.float32)
        with torch.no_grad():
            wanted = module(torch.from_numpy(x)).numpy().reshape(5, -1)
        np.testing.assert_allclose(linear(path, x), wanted, atol=1e-5)

    check("visual/patch_embed", tower.patch_embed)
    check("visual/blocks/1/mlp/down", tower.blocks[1].mlp.down_proj)
    check("visual/blocks/0/mlp/gate", tower.blocks[0].mlp.gate_proj)
    check("visual/merger/fc1", tower.merger.mlp[0])
    check("visual/merger/fc2", tower.merger.mlp[2])
    check("language_model/layers/2/attn/k", words.layers[2].self_attn.k_proj)
    check("language_model/layers/2/attn/o", words.layers[2].self_attn.o_proj)
    check("language_model/layers/1/mlp/up", words.layers[1].mlp.up_proj)
    check("lm_head", model.lm_head)
    x = np.random.default_rng(1).normal(size=(4, 32)).astype(np.float32)
    fused = tower.blocks[1].attn.qkv(torch.from_numpy(x)).detach().numpy()
    parts = [linear(f"visual/blocks/1/attn/{part}", x) for part in "qkv"]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), fused, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_every_row_of_every_reference_tensor_is_used_exactly_once(tied):
    table = weight_names.parameters(tiny(tied))
    state = torch_model(tied).state_dict()
    shapes = {weight_names.original_name(name): tuple(value.shape) for name, value in state.items()}
    if tied:
        del shapes[weight_names.LM_HEAD]
    used = collections.defaultdict(list)
    for parameter in table:
        assert parameter.stored_shape == shapes[parameter.name]
        used[parameter.name].extend(range(*parameter.rows))
    assert {name: sorted(rows) for name, rows in used.items()} == {
        name: list(range(shape[0])) for name, shape in shapes.items()
    }
    assert len({parameter.path for parameter in table}) == len(table)


def test_both_namings_give_the_same_parameters(tmp_path):
    config, params = tiny(tied=False), random_params(tiny(tied=False))
    weights.save(tmp_path, config, params)
    new = {rename(name): value for name, value in stored(tmp_path).items()}
    assert "model.language_model.layers.0.mlp.up_proj.weight" in new
    assert "model.visual.merger.ln_q.weight" in new
    save_file(new, tmp_path / "model.safetensors")
    assert_same_bits(flatten(params), flatten(weights.load(tmp_path)[1]))


def rename(name: str) -> str:
    if name.startswith("visual."):
        return "model." + name
    return name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name


def flatten(params) -> dict:
    return traverse_util.flatten_dict(params, sep="/")


@pytest.mark.parametrize("target", weights.DTYPES)
def test_dtype_converts_each_number_as_torch_does(target, tmp_path):
    import torch

    config, params = tiny(tied=True), random_params(tiny(tied=True))
    weights.save(tmp_path / "a", config, params)
    loaded = flatten(weights.load(tmp_path / "a", dtype=target)[1])
    weights.save(tmp_path / "b", config, params, dtype=target)
    assert_same_bits(loaded, flatten(weights.load(tmp_path / "b")[1]))
    for path, value in flatten(params).items():
        wanted = torch.from_numpy(value).to(getattr(torch, target)).float().numpy()
        np.testing.assert_array_equal(np.asarray(loaded[path], np.float32), wanted)
    assert json.loads((tmp_path / "b/config.json").read_text())["torch_dtype"] == target


def test_mixed_types_keep_their_own_and_name_none(tmp_path):
    config = tiny(tied=True)
    params = random_params(config)
    params["language_model"]["norm"]["scale"] = params["language_model"]["norm"]["scale"].astype(np.float16)
    weights.save(tmp_path, config, params)
    assert_same_bits(flatten(params), flatten(weights.load(tmp_path)[1]))
    assert "torch_dtype" not in json.loads((tmp_path / "config.json").read_text())


def mesh_2x4():
    return Mesh(np.array(jax.devices()).reshape(2, 4), ("fsdp", "tensor"))


def test_eight_devices_hold_the_same_numbers_and_each_only_its_slice(tmp_path):
    config, params = tiny(tied=False), random_params(tiny(tied=False), jnp.bfloat16)
    weights.save(tmp_path, config, params, max_shard_bytes=20_000)
    mesh = mesh_2x4()
    shapes = {p.path: p.shape for p in weight_names.parameters(config)}

    def sharding(path):
        """Both axes where they divide the last two dimensions, so kernels are cut by rows and by columns."""
        axes = [None] * (len(shapes[path]) - 2) + ["fsdp", "tensor"][-len(shapes[path]) :]
        spec = [a if n % mesh.shape[a] == 0 else None for a, n in zip(axes, shapes[path], strict=True)]
        return NamedSharding(mesh, PartitionSpec(*spec))

    tree = traverse_util.unflatten_dict({path: sharding(path) for path in shapes}, sep="/")
    loaded = flatten(weights.load(tmp_path, shardings=sharding)[1])
    assert_same_bits(flatten(params), loaded)
    assert_same_bits(loaded, flatten(weights.load(tmp_path, shardings=tree)[1]))
    for path, value in loaded.items():
        assert value.sharding.is_equivalent_to(sharding(path), value.ndim)
    kernel = loaded["language_model/layers/0/mlp/down/kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(28, 12)}
    weights.save(tmp_path / "again", config, tree_of(loaded))
    assert_same_bits(stored(tmp_path), stored(tmp_path / "again"))


def tree_of(flat):
    return traverse_util.unflatten_dict(flat, sep="/")


def anonymous_bytes() -> int:
    """Memory of this process that is not a mapped file: the weight files themselves do not count."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    pytest.skip("this system does not tell anonymous memory")


@pytest.mark.parametrize("sharded", [False, True])
def test_host_memory_peaks_at_the_model_and_two_of_its_largest_tensors(sharded, tmp_path):
    text = TextConfig(16384, 1024, 2048, 10, 8, 2, 128, 1e-6, 1e6, (16, 24, 24), True, 512)
    config = Config(VisionConfig(1, 32, 40, 2, 4, 2, 3, 2, 16, (0,), 1024), text, **IDS, **ENDS)
    table = weight_names.parameters(config)
    sizes = [2 * math.prod(p.shape) for p in table]
    assert sum(sizes) > 200e6
    flat = {p.path: np.full(p.shape, 0.5, jnp.bfloat16) for p in table}
    weights.save(tmp_path, config, tree_of(flat), max_shard_bytes=50e6)
    del flat
    gc.collect()
    spec = NamedSharding(mesh_2x4(), PartitionSpec("tensor")) if sharded else None
    before, peak, done = anonymous_bytes(), [0], threading.Event()

    def watch():
        while not done.is_set():
            peak[0] = max(peak[0], anonymous_bytes())
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    params = weights.load(tmp_path, shardings=(lambda path: spec) if sharded else None)[1]
    done.set()
    watcher.join()
    used = peak[0] - before
    assert params["language_model"]["norm"]["scale"][0] == 0.5
    assert used < sum(sizes) + 2 * max(sizes) + 20e6, (used, sum(sizes), max(sizes))
