"""Peers of the learner on the same weights: a plain loop around PyTorch's model, and TRL's GRPOTrainer.

TRL is the extra `bench`. Its trainer wants the processor of the model, which transformers builds only beside
torchvision; `_Processor` does the same with the image processor that needs none.
"""

import importlib.util
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Sequence

import numpy as np

from vigorl_jax.qwen25vl import weights
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.training.batch import Batch

HOW_TO_INSTALL = "TRL is not installed: pip install 'vigorl_jax[bench]'"
LEARNING_RATE = 1e-5


def has_trl() -> bool:
    """Whether the peer of policy gradients can be run."""
    return importlib.util.find_spec("trl") is not None


def torch_sft_step(
    config: Config,
    params: Params,
    batch: Batch,
    patches: np.ndarray | None,
    grids: Sequence[tuple[int, int, int]],
    *,
    compiled: bool = False,
) -> Callable[[], float]:
    """A function that makes one step of a plain loop: loss of transformers, backward, clipping, AdamW.

    The tower is frozen. Every row's targets are its last tokens; those before are labelled as not learned.

    compiled: the model by `torch.compile`, and the fused AdamW.
    """
    import torch

    model = _frozen_tower(config, params)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, LEARNING_RATE, fused=compiled or None)
    forward = torch.compile(model, dynamic=False) if compiled else model
    ids = torch.tensor(np.asarray(batch.tokens), dtype=torch.long)
    labels = ids.clone()
    labels[:, : ids.shape[1] - batch.targets.tokens.shape[1]] = -100
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "use_cache": False}
    if patches is not None:
        inputs["mm_token_type_ids"] = (ids == config.image_token_id).int()
        inputs["pixel_values"], inputs["image_grid_thw"] = torch.tensor(patches), torch.tensor(grids)

    def step() -> float:
        optimiser.zero_grad()
        model.model.rope_deltas = None
        loss = forward(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        return loss.item()

    return step


def _frozen_tower(config: Config, params: Params):
    from vigorl_jax.testing.reference import Reference

    with tempfile.TemporaryDirectory() as folder:
        weights.save(folder, config, params)
        model = Reference(folder).model
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("visual" not in name)
    return model.train()


class TrlSteps:
    """Steps of TRL's own training loop, one at a time: the loop runs in a thread and waits between steps.

    Each step generates with transformers, scores, and makes one update: no vLLM, no KL term, no checkpointing, no old
    log-probs to compute, the tower frozen, float32, AdamW.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        prompts: Sequence[tuple[str, str, np.ndarray]],
        *,
        group_size: int,
        new_tokens: int,
        reward: Callable[[str], float],
        steps: int,
    ):
        """Builds the trainer and starts its loop, up to the first step.

        Args:
          model_dir: in Hugging Face layout.
          prompts: (system message, question, image [H, W, 3]) of each example.
          group_size: completions of an example.
          new_tokens: of every completion; none may end before.
          reward: of a completion.
          steps: how many calls there will be; the loop waits for one more, and ends with the process.
        """
        self._may_go: queue.Queue[bool] = queue.Queue()
        self._done: queue.Queue[BaseException | None] = queue.Queue()
        trainer = _trainer(model_dir, prompts, group_size, new_tokens, reward, steps)
        trainer.add_callback(_turnstile(self._may_go, self._done))
        self.prompt_tokens = _prompt_tokens(trainer, prompts[0])
        self._thread = threading.Thread(target=self._run, args=(trainer,), daemon=True)
        self._thread.start()

    def __call__(self) -> None:
        """One step.

        Raises:
          What TRL raised.
        """
        self._may_go.put(True)
        error = self._done.get()
        if error is not None:
            raise error

    def _run(self, trainer) -> None:
        try:
            trainer.train()
        except BaseException as error:  # handed to the caller's thread, which raises it
            self._done.put(error)


def _turnstile(may_go: queue.Queue, done: queue.Queue):
    from transformers import TrainerCallback

    class Turnstile(TrainerCallback):
        """Holds each step until it is asked for, and says when it is over."""

        def on_step_begin(self, args, state, control, **kwargs):
            may_go.get()

        def on_step_end(self, args, state, control, **kwargs):
            done.put(None)

    return Turnstile()


def _trainer(model_dir, prompts, group_size: int, new_tokens: int, reward, steps: int):
    import datasets
    import torch
    import transformers
    from PIL import Image
    from trl import GRPOConfig, GRPOTrainer

    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("visual" not in name)
    rows = [
        {
            "prompt": [{"role": "system", "content": system}, {"role": "user", "content": question}],
            "image": Image.fromarray(image),
        }
        for system, question, image in prompts
    ]
    settings = GRPOConfig(
        output_dir=os.path.join(model_dir, "trl"),
        per_device_train_batch_size=len(prompts) * group_size,
        num_generations=group_size,
        max_completion_length=new_tokens,
        generation_kwargs={"min_new_tokens": new_tokens},
        temperature=1.0,
        beta=0.0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_steps=steps + 1,  # at its end the loop would print to standard output, which is for the figures
        logging_steps=steps + 2,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )

    def rewards(completions: list, **_) -> list[float]:
        return [reward(completion[0]["content"]) for completion in completions]

    return GRPOTrainer(
        model,
        reward_funcs=rewards,
        args=settings,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=_processor(model_dir),
    )


def _prompt_tokens(trainer, prompt: tuple[str, str, np.ndarray]) -> list[int]:
    """Ids of a prompt as the trainer sees it."""
    from PIL import Image

    system, question, image = prompt
    content = [{"type": "image", "image": Image.fromarray(image)}, {"type": "text", "text": question}]
    conversation = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    return trainer.processing_class.apply_chat_template(
        [conversation], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"][0]


def _processor(model_dir: str | os.PathLike[str]):
    from transformers import AutoTokenizer, BatchFeature, ProcessorMixin
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    pad, placeholder = "<|image_pad|>", "<|placeholder|>"

    class Processor(ProcessorMixin):
        """Text and images to arrays as `Qwen2_5_VLProcessor` makes them, without video."""

        def __init__(self, image_processor, tokenizer):
            self.image_processor, self.tokenizer = image_processor, tokenizer
            self.chat_template = tokenizer.chat_template
            self.image_token_id = tokenizer.convert_tokens_to_ids(pad)

        def __call__(self, images=None, text=None, *, padding=False, return_tensors=None, **_):
            flat = [image for given in images for image in (given if isinstance(given, list) else [given])]
            pixels = self.image_processor(images=flat, return_tensors="pt")
            counts = iter((pixels["image_grid_thw"].prod(1) // 4).tolist())
            expanded = [self._expanded(one, counts) for one in ([text] if isinstance(text, str) else text)]
            encoded = self.tokenizer(
                expanded, padding=padding, padding_side="left", return_tensors=return_tensors
            )
            ids = encoded["input_ids"]
            if return_tensors:
                is_image = (ids == self.image_token_id).int()
            else:
                is_image = [[int(token == self.image_token_id) for token in row] for row in ids]
            return BatchFeature({**encoded, **pixels, "mm_token_type_ids": is_image})

        def _expanded(self, text: str, counts) -> str:
            while pad in text:
                text = text.replace(pad, placeholder * next(counts), 1)
            return text.replace(placeholder, pad)

    tokenizer = AutoTokenizer.from_pretrained(model_dir, padding_side="left")
    return Processor(Qwen2VLImageProcessorPil.from_pretrained(model_dir), tokenizer)
