"""The PyTorch model of transformers, run on our inputs: the second source of truth for the network."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from vigorl_jax.qwen25vl.patch_layout import Grid
from vigorl_jax.testing.questions import Question

IMAGE_PAD = "<|image_pad|>"


@dataclasses.dataclass(frozen=True)
class ReferenceOutputs:
    """What the PyTorch model computed.

    Attributes:
      stages: outputs of its modules by name; of the tower with one row for each patch or merge unit in
        Hugging Face order, of the language model [B, L, D].
      logits: [B, L, V].
      positions: M-RoPE ids [3, B, L].
    """

    stages: dict[str, np.ndarray]
    logits: np.ndarray
    positions: np.ndarray


def reference_question(
    model_dir: str | os.PathLike[str], images: Sequence[np.ndarray], text: str
) -> Question:
    """One user turn, images first, through the tokenizer, chat template and image processor of a model directory.

    images: uint8 RGB [H, W, 3].
    """
    from PIL import Image
    from transformers import AutoTokenizer, Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil.from_pretrained(model_dir)
    pictures = [Image.fromarray(image) for image in images]
    pixels = (
        processor(pictures, return_tensors="np") if pictures else {"pixel_values": [], "image_grid_thw": []}
    )
    grids = [tuple(int(n) for n in grid) for grid in pixels["image_grid_thw"]]
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    content = [*({"type": "image"} for _ in images), {"type": "text", "text": text}]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    # The place of the n-th image grows to the n-th image's tokens, as in transformers' processor.
    pieces = prompt.split(IMAGE_PAD)
    for i, (_, height, width) in enumerate(grids):
        pieces[i] += IMAGE_PAD * (height * width // processor.merge_size**2)
    tokens = tokenizer("".join(pieces), add_special_tokens=False)["input_ids"]
    return Question(np.array(tokens, np.int32), np.asarray(pixels["pixel_values"], np.float32), grids)


class Reference:
    """A model directory loaded by transformers, in one of PyTorch's dtypes ("float32", "bfloat16", "float64")."""

    def __init__(self, model_dir: str | os.PathLike[str], dtype: str = "float32"):
        import torch
        from transformers import Qwen2_5_VLForConditionalGeneration

        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            model_dir, dtype=getattr(torch, dtype)
        )
        self.model.eval()

    def __call__(
        self, tokens: np.ndarray, lengths: np.ndarray, patches: np.ndarray, grids: Sequence[Grid]
    ) -> ReferenceOutputs:
        """Runs right-padded rows of token ids [B, L] with the patches [P, pixels] of all their images."""
        import torch

        ids = torch.tensor(tokens, dtype=torch.long)
        inputs: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": torch.tensor(np.arange(tokens.shape[1]) < lengths[:, None], dtype=torch.long),
            "mm_token_type_ids": (ids == self.model.config.image_token_id).int(),
        }
        if grids:
            inputs["image_grid_thw"] = torch.tensor(grids)
        positions, _ = self.model.model.get_rope_index(**inputs)
        if grids:
            inputs["pixel_values"] = torch.tensor(patches).to(self.model.dtype)
        stages: dict[str, np.ndarray] = {}
        hooks = [
            module.register_forward_hook(_recorder(stages, name))
            for name, module in self._stage_modules().items()
        ]
        with torch.no_grad():
            logits = self.model(**inputs, use_cache=False).logits
        for hook in hooks:
            hook.remove()
        self.model.model.rope_deltas = None  # cached state, stale for the next call
        return ReferenceOutputs(
            _in_patch_order(stages, grids, self.model.config), _array(logits), positions.numpy()
        )

    def _stage_modules(self) -> dict[str, Any]:
        visual, language_model = self.model.model.visual, self.model.model.language_model
        return {
            "visual.patch_embed": visual.patch_embed,
            **{f"visual.blocks.{i}": block for i, block in enumerate(visual.blocks)},
            "visual.merger": visual.merger,
            **{f"language_model.layers.{i}": layer for i, layer in enumerate(language_model.layers)},
            "language_model.norm": language_model.norm,
        }


def _recorder(stages: dict[str, np.ndarray], name: str):
    def record(module, inputs, output):
        stages[name] = _array(output[0] if isinstance(output, tuple) else output)

    return record


def _array(tensor: Any) -> np.ndarray:
    import torch

    return (tensor if tensor.dtype == torch.float64 else tensor.float()).numpy()


def _in_patch_order(
    stages: dict[str, np.ndarray], grids: Sequence[Grid], config: Any
) -> dict[str, np.ndarray]:
    """Undoes the window order in which the PyTorch tower keeps its patches between embedding and merger."""
    import torch
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as reference

    if not grids:
        return stages
    vision = config.vision_config
    window_index, _ = reference.get_vision_window_index(
        torch.tensor(grids),
        spatial_merge_size=vision.spatial_merge_size,
        window_size=vision.window_size,
        patch_size=vision.patch_size,
    )
    order = np.argsort(window_index.numpy())
    unit = vision.spatial_merge_size**2

    def reorder(name: str, value: np.ndarray) -> np.ndarray:
        if name == "visual.merger":
            return value[order]
        if name.startswith("visual.blocks"):
            return value.reshape(-1, unit, value.shape[-1])[order].reshape(value.shape)
        return value

    return {name: reorder(name, value) for name, value in stages.items()}
