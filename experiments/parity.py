"""Runs a checkpoint through our network and through PyTorch on the same images and text, and states every difference.

Writes parity.json (largest absolute and relative difference of every module and of the logits) and arrays.npz
(input_ids, position_ids, image_embeds, logits, all from our side). Exit status 0 only within the tolerances.
"""

import dataclasses
import json
import pathlib
import sys
import tempfile

import jax
import numpy as np
from absl import flags

from experiments.launch import launch
from vigorl_jax.processing import decode
from vigorl_jax.qwen25vl import weights
from vigorl_jax.testing import comparison, models, questions, reference

# dtype: largest relative difference of a module, largest absolute difference of a logit.
TOLERANCES = {"float32": (1e-5, 1e-4), "bfloat16": (0.1, 0.5)}

_MODEL = flags.DEFINE_string("model", None, "model directory; without it, a tiny model with random weights")
_IMAGE = flags.DEFINE_multi_string(
    "image", [], "image file, any number of times; without --model, a photograph"
)
_TEXT = flags.DEFINE_string("text", "What is in the picture?", "question asked about the images")
_OUTPUT = flags.DEFINE_string("output_dir", "parity", "folder for parity.json and arrays.npz")
_DTYPE = flags.DEFINE_enum("dtype", "float32", tuple(TOLERANCES), "arithmetic of both sides")
_STAGE = flags.DEFINE_float(
    "stage_tolerance", None, "largest relative difference of a module; 1e-5, or 0.1 in bfloat16"
)
_LOGIT = flags.DEFINE_float(
    "logit_tolerance", None, "largest absolute difference of a logit; 1e-4, or 0.5 in bfloat16"
)


def main() -> int:
    """Compares, writes, prints the table and returns the verdict as an exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        return 0 if run(*_subject(scratch)) else 1


def _subject(scratch: str) -> tuple[str, list[str]]:
    if _MODEL.value:
        return _MODEL.value, _IMAGE.value
    from matplotlib import cbook

    models.write_tiny_model(scratch)
    return scratch, _IMAGE.value or [str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))]


def run(model_dir: str, files: list[str]) -> bool:
    """Whether the two sides agree; writes both files and prints the table."""
    originals = [decode.decode_image(pathlib.Path(file)) for file in files]
    ours = questions.question(model_dir, originals, _TEXT.value)
    theirs = reference.reference_question(model_dir, originals, _TEXT.value)
    config, params = weights.load(model_dir, dtype=_DTYPE.value)
    model = reference.Reference(model_dir, _DTYPE.value)
    report = comparison.compare(config, params, model, [(ours.tokens, ours.grids)], ours.patches)
    result = _judge(
        report,
        {
            "input_ids_equal": np.array_equal(ours.tokens, theirs.tokens),
            "patches_equal": theirs.grids == ours.grids
            and (not ours.grids or bool(np.allclose(ours.patches, theirs.patches, atol=1e-6))),
            "position_ids_equal": report.positions_equal,
        },
    )
    _write(result, report)
    return result["passed"]


def _judge(report: comparison.Comparison, equalities: dict[str, bool]) -> dict:
    stage, logit = TOLERANCES[_DTYPE.value]
    stage = stage if _STAGE.value is None else _STAGE.value
    logit = logit if _LOGIT.value is None else _LOGIT.value
    within = report.worst_relative_stage <= stage and report.logits.max_absolute <= logit
    return {
        "dtype": _DTYPE.value,
        "device": jax.devices()[0].device_kind,
        **equalities,
        "stage_tolerance": stage,
        "logit_tolerance": logit,
        "modules": {name: dataclasses.asdict(difference) for name, difference in report.stages.items()},
        "logits": dataclasses.asdict(report.logits),
        "passed": within and all(equalities.values()),
    }


def _write(result: dict, report: comparison.Comparison) -> None:
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parity.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    length = int(report.inputs.lengths[0])
    np.savez(
        folder / "arrays.npz",
        input_ids=report.inputs.tokens[:, :length],
        position_ids=report.inputs.positions[:, :, :length],
        image_embeds=report.image_embeds,
        logits=report.our_logits[:, :length],
    )
    for name, difference in [*result["modules"].items(), ("logits", result["logits"])]:
        sys.stdout.write(
            f"{name:28s} absolute {difference['max_absolute']:.1e}  relative {difference['max_relative']:.1e}\n"
        )
    for name in ("input_ids_equal", "position_ids_equal", "patches_equal", "passed"):
        sys.stdout.write(f"{name:28s} {result[name]}\n")


if __name__ == "__main__":
    launch(main)
