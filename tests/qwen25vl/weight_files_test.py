"""What a model directory may hold: everything else is refused by name, and a failed save destroys nothing."""

import json
import os
import pathlib
import pickle

import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from vigorl_jax.qwen25vl import config as config_lib
from vigorl_jax.qwen25vl import weight_files, weight_names, weights
from vigorl_jax.qwen25vl.config import Config, ConfigError, TextConfig, VisionConfig
from vigorl_jax.qwen25vl.weights import WeightsError

VISION = VisionConfig(1, 16, 24, 2, 4, 2, 3, 2, 16, (0,), 32)
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def tiny(tied: bool = True) -> Config:
    text = TextConfig(64, 32, 40, 1, 2, 1, 16, 1e-6, 1e4, (2, 3, 3), tied, 512)
    return Config(VISION, text, 60, 61, 62, 63, 1, (2,), 0)


def params_of(config: Config, value: float) -> dict:
    flat = {p.path: np.full(p.shape, value, np.float32) for p in weight_names.parameters(config)}
    return traverse_util.unflatten_dict(flat, sep="/")


def norm_of(directory: pathlib.Path) -> float:
    return float(weights.load(directory)[1]["language_model"]["norm"]["scale"][0])


@pytest.fixture
def model_dir(tmp_path) -> pathlib.Path:
    directory = tmp_path / "model"
    weights.save(directory, tiny(), params_of(tiny(), 1.0))
    return directory


@pytest.fixture
def sharded_dir(tmp_path) -> pathlib.Path:
    directory = tmp_path / "model"
    weights.save(directory, tiny(), params_of(tiny(), 1.0), max_shard_bytes=20_000)
    return directory


def change_tensors(directory: pathlib.Path, change) -> None:
    tensors = load_file(directory / SINGLE)
    change(tensors)
    save_file(tensors, directory / SINGLE)


def change_index(directory: pathlib.Path, name: str, file) -> None:
    index = json.loads((directory / INDEX).read_text())
    index["weight_map"][name] = file
    (directory / INDEX).write_text(json.dumps(index))


def test_all_differences_are_listed_in_one_error(model_dir):
    def change(tensors):
        del tensors["model.norm.weight"], tensors["visual.merger.ln_q.weight"]
        tensors["visual.extra"] = np.zeros(3, np.float32)
        tensors["model.layers.0.self_attn.k_proj.bias"] = np.zeros(7, np.float32)
        tensors["model.layers.0.mlp.up_proj.weight"] = np.zeros((40, 32), np.int8)

    change_tensors(model_dir, change)
    with pytest.raises(WeightsError) as error:
        weights.load(model_dir)
    assert str(error.value) == (
        f"{model_dir}: the tensors do not fit config.json: "
        "2 missing: visual.merger.ln_q.weight, model.norm.weight; "
        "1 unexpected: visual.extra; "
        "1 wrongly shaped: model.layers.0.self_attn.k_proj.bias [7], wanted [16]; "
        "1 of another type than F32, BF16, F16: model.layers.0.mlp.up_proj.weight I8; "
        "use the two files of one model"
    )


def test_long_lists_are_cut_and_counted(model_dir):
    change_tensors(model_dir, lambda t: t.update({f"extra.{i:02}": np.zeros(1) for i in range(20)}))
    with pytest.raises(WeightsError, match=r"20 unexpected: extra.00, .*extra.07 and 12 more;"):
        weights.load(model_dir)


def test_rotary_tables_of_old_checkpoints_are_ignored(model_dir):
    names = ["model.layers.0.self_attn.rotary_emb.inv_freq", "visual.rotary_pos_emb.inv_freq"]
    change_tensors(model_dir, lambda t: t.update({name: np.zeros(4) for name in names}))
    assert norm_of(model_dir) == 1.0


def test_tied_checkpoint_may_repeat_the_embedding_but_not_change_it(model_dir):
    embedding = load_file(model_dir / SINGLE)["model.embed_tokens.weight"]
    change_tensors(model_dir, lambda t: t.update({"lm_head.weight": embedding.astype(np.float16)}))
    assert "lm_head" not in weights.load(model_dir)[1]
    embedding[63, 31] += 1e-3
    change_tensors(model_dir, lambda t: t.update({"lm_head.weight": embedding}))
    with pytest.raises(WeightsError, match=r"lm_head.weight differs from model.embed_tokens.weight .*false"):
        weights.load(model_dir)
    change_tensors(model_dir, lambda t: t.update({"lm_head.weight": np.zeros((3, 3), np.float32)}))
    with pytest.raises(WeightsError, match=r"1 wrongly shaped: lm_head.weight \[3, 3\], wanted \[64, 32\]"):
        weights.load(model_dir)


def test_tensor_under_both_namings_is_refused(model_dir):
    change_tensors(
        model_dir, lambda t: t.update({"model.language_model.norm.weight": np.zeros(32, np.float32)})
    )
    with pytest.raises(WeightsError, match=r"1 stored under two names: model.norm.weight"):
        weights.load(model_dir)


@pytest.mark.parametrize(
    "file", ["../outside.safetensors", "/etc/outside.safetensors", "a/b.safetensors", "c:\\d.safetensors"]
)
def test_index_may_not_name_a_file_outside_the_directory(file, sharded_dir):
    save_file({"model.norm.weight": np.zeros(32, np.float32)}, sharded_dir.parent / "outside.safetensors")
    change_index(sharded_dir, "model.norm.weight", file)
    with pytest.raises(
        WeightsError, match=r"names the file .*; wanted a file name without a folder"
    ) as error:
        weights.load(sharded_dir)
    assert repr(file) in str(error.value)


@pytest.mark.parametrize("name", [SINGLE, "linked.safetensors"])
def test_links_that_leave_the_directory_are_refused(name, sharded_dir):
    outside = sharded_dir.parent / "outside.safetensors"
    save_file({"model.norm.weight": np.zeros(32, np.float32)}, outside)
    (sharded_dir / name).symlink_to(outside)
    change_index(sharded_dir, "model.norm.weight", name)
    with pytest.raises(WeightsError, match=rf"{name} is a link to {outside}, outside the directory; put"):
        weights.load(sharded_dir)


def test_links_inside_and_those_of_a_hugging_face_cache_are_followed(model_dir, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b/snapshots/0123", tmp_path / "models--a--b/blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in ("config.json", SINGLE):
        os.rename(model_dir / name, blobs / name.upper())
        (snapshot / name).symlink_to(f"../../blobs/{name.upper()}")
    assert norm_of(snapshot) == 1.0
    (tmp_path / "named").symlink_to(snapshot)
    assert norm_of(tmp_path / "named") == 1.0


@pytest.mark.parametrize("file", ["pytorch_model-00001-of-00002.bin", "model.pt", "x.pkl", 3])
def test_index_may_not_name_a_pickle(file, sharded_dir):
    change_index(sharded_dir, "model.norm.weight", file)
    with pytest.raises(
        WeightsError, match=rf"names '?{file}'?; only .safetensors is read.*save the model again"
    ):
        weights.load(sharded_dir)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt", "weights.ckpt"])
def test_pickle_alone_is_refused_and_not_opened(name, model_dir, tmp_path):
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    (model_dir / SINGLE).unlink()
    (model_dir / name).write_bytes(pickle.dumps(Payload()))
    with pytest.raises(WeightsError, match=rf"holds pickled weights \({name}\), which can run code"):
        weights.load(model_dir)
    assert not (tmp_path / "ran").exists()


def test_directory_without_weights_says_what_it_has(model_dir):
    os.rename(model_dir / SINGLE, model_dir / "adapter_model.safetensors")
    wanted = (
        f"neither {SINGLE} nor {INDEX}; found adapter_model.safetensors, config.json; give a model directory"
    )
    with pytest.raises(WeightsError, match=wanted):
        weights.load(model_dir)


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_truncated_file_is_refused_by_name(keep, sharded_dir):
    shard = sorted(sharded_dir.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=rf"{shard} is no readable safetensors file \(.*\); download"):
        weights.load(sharded_dir)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', "{}", '{"weight_map": {"a": []}}'])
def test_damaged_index_is_refused_by_name(text, sharded_dir):
    (sharded_dir / INDEX).write_text(text)
    with pytest.raises(
        WeightsError, match=rf"{sharded_dir / INDEX} is not an index \(.*\); wanted JSON with"
    ):
        weights.load(sharded_dir)


def test_index_and_shards_must_agree(sharded_dir):
    first = min(path.name for path in sharded_dir.glob("*.safetensors"))
    change_index(sharded_dir, "model.norm.weight", first)
    with pytest.raises(
        WeightsError, match=rf"{first} lacks model.norm.weight, named by {INDEX}; restore both"
    ):
        weights.load(sharded_dir)


def test_tensor_in_two_shards_is_refused(sharded_dir):
    first, second, *_ = sorted(sharded_dir.glob("*.safetensors"))
    name = next(iter(load_file(first)))
    save_file(load_file(second) | {name: np.zeros(1, np.float32)}, second)
    with pytest.raises(WeightsError, match=rf"{second} repeats {name} of another file; keep one"):
        weights.load(sharded_dir)


def test_absent_shard_is_named(sharded_dir):
    shard = sorted(sharded_dir.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(WeightsError, match=rf"{shard} is absent but named by {INDEX}; download it again"):
        weights.load(sharded_dir)


def test_missing_config_is_named(model_dir):
    (model_dir / "config.json").unlink()
    with pytest.raises(
        ConfigError, match=r"config.json: No such file or directory; wanted a model directory"
    ):
        weights.load(model_dir)


def test_shards_keep_the_limit_and_the_index_sums_them(sharded_dir):
    index = json.loads((sharded_dir / INDEX).read_text())
    files = {file: load_file(sharded_dir / file) for file in set(index["weight_map"].values())}
    sizes = {file: sum(t.nbytes for t in tensors.values()) for file, tensors in files.items()}
    assert len(files) > 1
    assert max(sizes.values()) <= 20_000
    assert index["metadata"]["total_size"] == sum(sizes.values())
    assert {name: file for file, tensors in files.items() for name in tensors} == index["weight_map"]


def test_saving_over_a_model_leaves_no_file_of_the_old_one(sharded_dir):
    (sharded_dir / "notes.txt").write_text("mine")
    (sharded_dir / "model-00001-of-00009.safetensors.partial").write_text("of a killed run")
    weights.save(sharded_dir, tiny(), params_of(tiny(), 2.0))
    assert sorted(path.name for path in sharded_dir.iterdir()) == ["config.json", SINGLE, "notes.txt"]
    assert norm_of(sharded_dir) == 2.0


@pytest.mark.parametrize("fails_at", range(3))
def test_failed_write_leaves_the_old_model(fails_at, sharded_dir, monkeypatch):
    written = []

    def failing(tensors, path, metadata):
        if len(written) == fails_at:
            raise OSError("no space left")
        written.append(path)
        save_file(tensors, path, metadata)

    monkeypatch.setattr(weights, "save_file", failing)
    with pytest.raises(OSError, match="no space left"):
        weights.save(sharded_dir, tiny(), params_of(tiny(), 2.0), max_shard_bytes=20_000)
    assert norm_of(sharded_dir) == 1.0
    assert not list(sharded_dir.glob("*.partial"))


@pytest.mark.parametrize("fails_at", range(5))
def test_crash_between_renames_leaves_a_directory_that_does_not_load(fails_at, sharded_dir, monkeypatch):
    done, real = [], os.replace

    def crashing(source, target):
        if len(done) == fails_at:
            raise KeyboardInterrupt
        done.append(target)
        real(source, target)

    monkeypatch.setattr(weight_files.os, "replace", crashing)
    with pytest.raises(KeyboardInterrupt):
        weights.save(sharded_dir, tiny(), params_of(tiny(), 2.0), max_shard_bytes=20_000)
    with pytest.raises(ConfigError, match=r"config.json: No such file"):
        weights.load(sharded_dir)


def test_saved_files_are_as_readable_as_their_directory(tmp_path):
    (tmp_path / "model").mkdir(mode=0o750)
    weights.save(tmp_path / "model", tiny(), params_of(tiny(), 1.0))
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {0o640}


def test_companions_travel_and_nothing_else(model_dir, tmp_path):
    for name in ("tokenizer.json", "preprocessor_config.json", "chat_template.jinja", "pytorch_model.bin"):
        (model_dir / name).write_text(name)
    weights.save(tmp_path / "new", tiny(), params_of(tiny(), 2.0), copy_from=model_dir)
    expected = ["chat_template.jinja", "config.json", SINGLE, "preprocessor_config.json", "tokenizer.json"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == expected
    assert (tmp_path / "new/tokenizer.json").read_text() == "tokenizer.json"
    assert norm_of(tmp_path / "new") == 2.0
    with pytest.raises(
        WeightsError, match=r"absent is not a directory; give the one that holds the tokenizer"
    ):
        weights.save(tmp_path / "other", tiny(), params_of(tiny(), 2.0), copy_from=tmp_path / "absent")
    (model_dir / "vocab.json").symlink_to("/etc/hostname")
    with pytest.raises(WeightsError, match=r"vocab.json is a link to /etc/hostname, outside"):
        weights.save(tmp_path / "other", tiny(), params_of(tiny(), 2.0), copy_from=model_dir)
    assert not list((tmp_path / "other").iterdir())


def test_save_refuses_parameters_that_do_not_fit(tmp_path):
    params = params_of(tiny(), 1.0)
    del params["visual"]["merger"]["norm"]
    params["lm_head"] = {"kernel": np.zeros((32, 64), np.float32)}
    params["language_model"]["norm"]["scale"] = np.zeros(5, np.float32)
    with pytest.raises(WeightsError) as error:
        weights.save(tmp_path / "new", tiny(), params)
    assert str(error.value) == (
        "the parameters do not fit the configuration: 1 missing: visual/merger/norm/scale; "
        "1 unexpected: lm_head/kernel; 1 wrongly shaped: language_model/norm/scale [5], wanted [32]; "
        "pass the tree of `load`"
    )
    assert not (tmp_path / "new").exists()


def test_save_refuses_types_that_it_cannot_store_exactly(tmp_path):
    params = params_of(tiny(), 1.0)
    params["language_model"]["norm"]["scale"] = np.zeros(32, np.int32)
    with pytest.raises(
        WeightsError, match=r"language_model/norm/scale has the type int32; wanted one of float32"
    ):
        weights.save(tmp_path, tiny(), params)
    params = params_of(tiny(), 1.0)
    params["visual"]["blocks"]["0"]["attn"]["k"]["bias"] = np.zeros(16, np.float16)
    with pytest.raises(
        WeightsError, match=r"qkv.bias is stored as one tensor, .*\['float16', 'float32'\]; give"
    ):
        weights.save(tmp_path, tiny(), params)
    weights.save(tmp_path, tiny(), params, dtype="float32")
    assert norm_of(tmp_path) == 1.0


def test_load_refuses_types_and_shardings_that_do_not_fit(model_dir):
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    for dtype in ("int8", "float64", "brain"):
        with pytest.raises(
            WeightsError, match=f"dtype has the type {dtype}; wanted one of float32, bfloat16"
        ):
            weights.load(model_dir, dtype=dtype)
    mesh = Mesh(np.array(jax.devices()[:3]), ("tensor",))
    with pytest.raises(
        WeightsError, match=r"visual/patch_embed/kernel \[96, 16\] cannot be sharded as .*mesh"
    ):
        weights.load(model_dir, shardings=lambda path: NamedSharding(mesh, PartitionSpec(None, "tensor")))
    with pytest.raises(WeightsError, match=r"1 not a jax.sharding.Sharding: a/b; give one sharding"):
        weights.load(model_dir, shardings={"a": {"b": PartitionSpec()}})
    whole = NamedSharding(mesh, PartitionSpec())
    with pytest.raises(
        WeightsError, match=r"36 missing: visual/.* and 28 more; 1 unexpected: a/b; give one sharding"
    ):
        weights.load(model_dir, shardings={"a": {"b": whole}})


def test_config_written_by_save_is_that_of_the_model(model_dir):
    assert config_lib.load(model_dir) == tiny()
