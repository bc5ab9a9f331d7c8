"""The configuration against transformers' classes and the released numbers."""

import dataclasses
import json
import math

import pytest

from vigorl_jax.qwen25vl import config as config_lib
from vigorl_jax.qwen25vl import weight_names
from vigorl_jax.qwen25vl.config import Config, ConfigError, TextConfig, VisionConfig

# hidden_size, intermediate_size, layers, heads, kv heads, vocabulary, tied, vision intermediate_size
RELEASED = {
    "3B": (2048, 11008, 36, 16, 2, 151936, True, 3420),
    "7B": (3584, 18944, 28, 28, 4, 152064, False, 3420),
    "32B": (5120, 27648, 64, 40, 8, 152064, False, 3456),
    "72B": (8192, 29568, 80, 64, 8, 152064, False, 3456),
}


def released(size: str) -> dict:
    """The fields of a released config.json (flat layout, in_chans, a sliding window named but not used)."""
    width, mlp_width, layers, heads, kv_heads, vocabulary, tied, vision_mlp_width = RELEASED[size]
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "vision_token_id": 151654,
        "image_token_id": 151655,
        "video_token_id": 151656,
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "max_position_embeddings": 128000,
        "max_window_layers": layers,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "sliding_window": 32768,
        "use_sliding_window": False,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "vocab_size": vocabulary,
        "vision_config": {
            "depth": 32,
            "hidden_act": "silu",
            "hidden_size": 1280,
            "intermediate_size": vision_mlp_width,
            "num_heads": 16,
            "in_chans": 3,
            "out_hidden_size": width,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
    }


def changed(path: str, value) -> dict:
    """The released 3B fields with one of them replaced: "vision_config.depth"."""
    fields = released("3B")
    level = fields
    *outer, name = path.split(".")
    for key in outer:
        level = level[key]
    level[name] = value
    return fields


def nested(fields: dict, directory) -> dict:
    """The same model as transformers 5 writes it."""
    from transformers import Qwen2_5_VLConfig

    Qwen2_5_VLConfig.from_dict(fields).save_pretrained(directory)
    return json.loads((directory / "config.json").read_text())


def test_released_3b_has_the_published_sizes():
    config = Config.from_hf(released("3B"))
    assert config.vision == VisionConfig(32, 1280, 3420, 16, 14, 2, 3, 2, 112, (7, 15, 23, 31), 2048, 2)
    assert config.text == TextConfig(
        151936, 2048, 11008, 36, 16, 2, 128, 1e-6, 1e6, (16, 24, 24), True, 128000
    )
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (151643, (151645,), None)
    assert (config.image_token_id, config.video_token_id) == (151655, 151656)
    assert (config.vision_start_token_id, config.vision_end_token_id) == (151652, 151653)
    assert config.vision.head_dim == 80
    assert config.vision.patch_values == 1176


@pytest.mark.parametrize(("size", "published"), [("3B", 3_754_622_976), ("7B", 8_292_166_656)])
def test_released_sizes_give_the_published_number_of_parameters(size, published):
    table = weight_names.parameters(Config.from_hf(released(size)))
    assert sum(math.prod(parameter.shape) for parameter in table) == published


@pytest.mark.parametrize("size", RELEASED)
def test_flat_and_nested_layouts_give_equal_configs(size, tmp_path):
    fields = nested(released(size), tmp_path)
    assert "hidden_size" not in fields
    assert "rope_parameters" in fields["text_config"]
    assert config_lib.load(tmp_path) == Config.from_hf(released(size))


@pytest.mark.parametrize("size", RELEASED)
def test_what_we_write_we_read_back(size):
    config = dataclasses.replace(
        Config.from_hf(released(size)), eos_token_id=(151645, 151643), pad_token_id=7
    )
    assert Config.from_hf(json.loads(json.dumps(config.to_hf()))) == config
    assert hash(config) == hash(Config.from_hf(config.to_hf()))
    without = dataclasses.replace(config, bos_token_id=None, eos_token_id=(), pad_token_id=None)
    assert Config.from_hf(without.to_hf()) == without


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_reads_what_we_write_with_the_same_numbers(tied, tmp_path):
    from transformers import Qwen2_5_VLConfig

    vision = VisionConfig(3, 48, 56, 3, 10, 3, 4, 3, 120, (1,), 60, 5)
    text = TextConfig(311, 60, 72, 5, 6, 3, 10, 2e-5, 5e5, (1, 2, 2), tied, 777)
    config = Config(vision, text, 300, 301, 302, 303, 304, (305, 306), 307)
    (tmp_path / "config.json").write_text(json.dumps(config.to_hf()))
    theirs = Qwen2_5_VLConfig.from_pretrained(tmp_path)
    tower = theirs.vision_config
    assert (tower.depth, tower.hidden_size, tower.intermediate_size, tower.num_heads) == (3, 48, 56, 3)
    assert (tower.patch_size, tower.temporal_patch_size, tower.in_channels) == (10, 3, 4)
    assert (tower.spatial_merge_size, tower.window_size, tower.fullatt_block_indexes) == (3, 120, [1])
    assert (tower.out_hidden_size, tower.tokens_per_second) == (60, 5)
    words = theirs.text_config
    assert (words.vocab_size, words.hidden_size, words.intermediate_size) == (311, 60, 72)
    assert (words.num_hidden_layers, words.num_attention_heads, words.num_key_value_heads) == (5, 6, 3)
    assert (words.rms_norm_eps, words.max_position_embeddings) == (2e-5, 777)
    assert words.rope_parameters["rope_theta"] == 5e5
    assert words.rope_parameters["rope_type"] == "default"
    assert words.rope_parameters["mrope_section"] == [1, 2, 2]
    assert set(words.layer_types) == {"full_attention"}
    assert theirs.tie_word_embeddings is tied
    assert (theirs.image_token_id, theirs.video_token_id) == (300, 301)
    assert (theirs.vision_start_token_id, theirs.vision_end_token_id) == (302, 303)
    assert (words.bos_token_id, words.eos_token_id, words.pad_token_id) == (304, [305, 306], 307)
    theirs.save_pretrained(tmp_path / "theirs")
    assert config_lib.load(tmp_path / "theirs") == config


def test_absent_fields_have_transformers_defaults(tmp_path):
    # 3584 is the default of out_hidden_size; 8, the default of num_key_value_heads, does not divide 28.
    fields = {
        "model_type": "qwen2_5_vl",
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    }
    nested(fields, tmp_path)
    ours = Config.from_hf(fields)
    assert ours == config_lib.load(tmp_path)
    assert (ours.vision.width, ours.text.norm_eps, ours.text.mrope_section) == (3584, 1e-5, (16, 24, 24))


def test_no_key_value_heads_means_as_many_as_heads(tmp_path):
    fields = changed("num_key_value_heads", None)
    assert Config.from_hf(fields).text.num_kv_heads == 16
    nested(fields, tmp_path)
    assert config_lib.load(tmp_path).text.num_kv_heads == 16


def test_tying_may_be_said_at_either_level(tmp_path):
    fields = nested(changed("tie_word_embeddings", False), tmp_path)
    assert not Config.from_hf(fields).text.tie_embeddings
    fields["text_config"]["tie_word_embeddings"] = True
    assert Config.from_hf(fields).text.tie_embeddings


def test_sliding_windows_are_accepted_where_no_layer_uses_them():
    assert Config.from_hf(changed("max_window_layers", 0)).text.num_layers == 36
    fields = changed("use_sliding_window", True)
    assert fields["max_window_layers"] == fields["num_hidden_layers"]
    assert Config.from_hf(fields).text.num_layers == 36


def test_lists_become_tuples_and_one_stop_id_becomes_a_tuple():
    config = Config.from_hf(changed("eos_token_id", [151645, 151643]))
    assert config.eos_token_id == (151645, 151643)
    assert dataclasses.replace(config, eos_token_id=5).eos_token_id == (5,)
    assert dataclasses.replace(config.vision, full_attention_blocks=[1, 2]).full_attention_blocks == (1, 2)


REFUSALS = [
    ("model_type", "qwen2_vl", "model_type 'qwen2_vl'; wanted 'qwen2_5_vl'"),
    ("quantization_config", {"quant_method": "awq"}, "quantization_config .*awq.*; wanted None"),
    ("hidden_act", "gelu", "hidden_act 'gelu'; wanted 'silu'"),
    ("vision_config.hidden_act", "quick_gelu", "hidden_act 'quick_gelu'; wanted 'silu'"),
    ("attention_dropout", 0.1, "attention_dropout 0.1; wanted 0"),
    ("layer_types", ["sliding_attention"] * 36, "sliding-window attention; wanted full attention"),
    (
        "rope_scaling",
        {"type": "yarn", "factor": 4, "mrope_section": [16, 24, 24]},
        "rope type 'yarn'; wanted",
    ),
    ("rope_scaling", {"rope_type": "linear", "factor": 2}, "rope type 'linear'; wanted 'default' or 'mrope'"),
    (
        "rope_scaling",
        {"type": "mrope", "mrope_section": [16, 24]},
        r"\[16, 24\]; wanted three numbers .* = 64",
    ),
    ("rope_scaling", {"type": "mrope", "mrope_section": [8, 12, 12]}, r"\[8, 12, 12\]; wanted three .* = 64"),
    ("rope_scaling", "mrope", "rope_scaling 'mrope'; wanted a JSON object"),
    ("vision_config.rope_parameters", {"rope_theta": 5.0}, "rope_theta 5.0; wanted 10000.0"),
    ("hidden_size", None, "hidden_size None; wanted an integer of at least 1"),
    ("vocab_size", "many", "vocab_size 'many'; wanted an integer"),
    ("num_hidden_layers", 0, "num_hidden_layers 0; wanted an integer of at least 1"),
    ("num_hidden_layers", True, "num_hidden_layers True; wanted an integer"),
    ("rms_norm_eps", 0, "norm_eps 0; wanted a positive number"),
    ("rope_theta", "1e6", "rope_theta '1e6'; wanted a positive number"),
    ("num_key_value_heads", 3, "16 text heads with 3 key-value heads"),
    ("num_attention_heads", 12, "text width 2048 .*; wanted 12 heads x head_dim 170 = 2040"),
    ("head_dim", 64, "text width 2048 .*; wanted 16 heads x head_dim 64 = 1024"),
    ("vision_config.num_heads", 7, r"vision width 1280 \(hidden_size\) with 7 heads"),
    ("vision_config.num_heads", 128, "vision head_dim 10; wanted a multiple of 4"),
    ("vision_config.window_size", 100, "window_size 100; wanted a multiple of .* = 28"),
    ("vision_config.spatial_merge_size", 0, "spatial_merge_size 0; wanted an integer of at least 1"),
    ("vision_config.patch_size", [14, 14], r"patch_size \[14, 14\]; wanted an integer"),
    (
        "vision_config.fullatt_block_indexes",
        [-1],
        "full_attention_blocks -1; wanted an integer of at least 0",
    ),
    ("vision_config.out_hidden_size", 1024, "vision out_width 1024 .*; wanted the text width 2048"),
    ("vision_config", 3, "vision_config 3; wanted a JSON object"),
    ("image_token_id", 151936, "image_token_id 151936; wanted an id below vocab_size 151936"),
    ("pad_token_id", -1, "pad_token_id -1; wanted an integer of at least 0"),
]


@pytest.mark.parametrize(("field", "value", "message"), REFUSALS)
def test_what_is_not_computed_or_contradicts_itself_is_refused(field, value, message):
    with pytest.raises(ConfigError, match=f"{message}.*; correct the configuration"):
        Config.from_hf(changed(field, value))


def test_sliding_windows_in_use_are_refused():
    fields = changed("use_sliding_window", True) | {"max_window_layers": 35}
    with pytest.raises(
        ConfigError, match="sliding-window attention; wanted full attention in every text layer"
    ):
        Config.from_hf(fields)


def test_load_names_the_file_that_it_cannot_use(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(ConfigError, match=rf"{path}: No such file.*; wanted a model directory"):
        config_lib.load(tmp_path)
    path.write_text("{'single': 1}")
    with pytest.raises(ConfigError, match=rf"{path} is not JSON .*; restore it"):
        config_lib.load(tmp_path)
    path.write_text("[1]")
    with pytest.raises(ConfigError, match=rf"{path}: content \[1\]; wanted a JSON object"):
        config_lib.load(tmp_path)
    path.write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match=rf"{path}: model_type 'llama'"):
        config_lib.load(tmp_path)
