"""A tiny model learns: from chance to nearly always right on a question that only the image answers."""

import io
import json

import numpy as np
from PIL import Image

from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
from vigorl_jax.runs import fields, metrics_log, start
from vigorl_jax.runs.settings import GrpoRun
from vigorl_jax.testing import tiny_run

# The answer's first character says it: bright pictures want an odd code, dark ones an even one. Chance is a half.
REWARD = '''"""Is the picture bright? An odd first character says so."""


def compute_score(predict_str, ground_truth):
    says_bright = ord(predict_str[0]) % 2 == 1 if predict_str else None
    right = float(says_bright == (ground_truth == "bright"))
    return {"overall": right, "format": 1.0, "accuracy": right}
'''


def _pictures(folder):
    """Records of one's own in the released RL layout, with images beside them."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    with (folder / "mine_train_RL.jsonl").open("w") as file:
        for number in range(64):
            is_bright = number % 2
            level = rng.integers(176, 256) if is_bright else rng.integers(0, 80)
            picture = np.clip(level + rng.normal(0, 8, (56, 56, 3)), 0, 255).astype(np.uint8)
            stream = io.BytesIO()
            Image.fromarray(picture).save(stream, "PNG")
            (folder / f"{number}.png").write_bytes(stream.getvalue())
            answer = "bright" if is_bright else "dark"
            record = {"problem": "<image>Bright?", "answer": answer, "images": [f"{number}.png"]}
            file.write(json.dumps(record) + "\n")


def test_a_reward_rises_from_chance_to_over_nine_tenths(tmp_path):
    _pictures(tmp_path / "source")
    prepare(CATALOG["rl_jsonl"], [tmp_path / "source"], tmp_path / "data", Settings(task="visual_search"))
    tiny_run.write_files(tmp_path / "tiny", REWARD)
    run = fields.build(GrpoRun, {
        **tiny_run.VALUES,
        "model": str(tmp_path / "tiny" / "model"), "workdir": str(tmp_path / "run"),
        "reward": f"{tmp_path / 'tiny' / 'reward.py'}:compute_score",
        "datasets": ("rl_jsonl",), "data_dir": str(tmp_path / "data"),
        "condition": "vanilla", "max_turns": 1, "max_zooms": 0, "max_turn_tokens": 1, "diversity_bonus": False,
        "examples_per_step": 16, "group_size": 8, "slots": 128, "micro_rows": 128, "row_length": None,
        "num_steps": 10, "checkpoint_every": 10, "learning_rate": 1e-2, "kl_coefficient": 0.0,
        "reference": "none",
    })  # fmt: skip
    assert start.train_grpo(run).step == 10
    lines = list(metrics_log.read(tmp_path / "run" / metrics_log.FILE_NAME))
    rewards = [line["reward/overall"] for line in lines]
    assert 0.35 < rewards[0] < 0.65
    assert np.mean(rewards[-3:]) > 0.9
