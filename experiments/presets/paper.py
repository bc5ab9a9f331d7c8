"""What the paper and the official code say of all runs: Tables A1, A2 and A3, and what these leave open.

Rule: the paper's tables win; the official code fills in what they leave out or say twice in different ways. Where the
code differs from a table, the source says so. "Code" is the repository of the paper as published.
"""

from experiments.presets.preset import Values, cite

# Examples of visual search that are held out: the release has no validation split, and the code validates on the test.
HELD_OUT = 500

_A1, _A2, _A3 = "Table A1", "Table A2", "Table A3"

EVERYWHERE: Values = {
    **cite(
        "ours: wording of our own; --prompt=checkpoint with a released checkpoint, which was trained with other words",
        prompt="own",
    ),
    **cite(f"{_A1}-{_A3}: vision tower frozen; code: its merger too", frozen="vision"),
    **cite(
        "code: the image that is cut is the size-limited one", zoom_cut_from="reference", zoom_edges="clamp"
    ),
    **cite("code: AdamW", optimiser="adamw", b1=0.9, b2=0.999, adam_eps=1e-8),
    **cite("ours: long rows of an 8 GPU node", remat="full", micro_rows=1),
}

SFT: Values = {
    **EVERYWHERE,
    **cite(f"{_A1}; code: 1", num_epochs=3),
    **cite(_A1, learning_rate=1e-6, weight_decay=0.01, warmup_ratio=0.03, schedule="cosine"),
    **cite(f"{_A1}: 8 x 4 accumulated", batch_size=32),
    **cite(f"{_A1}: sequence 8192", max_tokens=8192, row_length=8192),
    **cite(f"{_A1}: bf16 (computation; master weights stay float32 under ZeRO)", compute_dtype="bfloat16"),
    **cite("code", max_grad_norm=1.0, seed=0, checkpoint_every=100, validate_every=250, max_pixels=4_194_304),
    **cite("code: norms and biases do not decay", decayed="matrices"),
    **cite("ours: openings and replies share the sequence", max_prompt_tokens=6144),
}

_GRPO: Values = {
    **EVERYWHERE,
    **cite("code: bf16 weights with Kahan summation; tables: AdamW bf16", weights_dtype="bfloat16"),
    **cite("tables: bf16", compute_dtype="bfloat16"),
    **cite("code; text A5.1: clip 0.2, tables: 0.28", clip_low=0.2),
    **cite("code", clip_dual=3.0, kl_estimate="k3", epochs_per_step=1, schedule="constant", decayed="all"),
    **cite("code: token mean (of each micro-batch; ours of the whole batch)", aggregation="token_mean"),
    **cite("code; text A5.1: centred only", advantage="group_normalised"),
    **cite("code: rewards of the official code", reward_preset="published"),
    **cite("code", drops_negative=False, dynamic_sampling=False, shuffle_seed=1),
    **cite("code", checkpoint_every=25, keep_last=50, validation_temperature=0.5, validation_samples=1),
    **cite("code: reference beside the policy", reference="device"),
}

GRPO_SINGLE_TURN: Values = {
    **_GRPO,
    **cite(_A2, num_steps=500, learning_rate=1e-6, weight_decay=0.01, examples_per_step=128, group_size=5),
    **cite(_A2, kl_coefficient=0.01, clip_high=0.28, max_grad_norm=1.0, temperature=1.0, top_p=0.99),
    **cite(f"{_A2}; code: 0", warmup_ratio=0.05),
    **cite(f"{_A2}: gradient batch 32 of 128 examples; code: 64, hence 2", updates_per_step=4),
    **cite(_A2, max_prompt_tokens=4096, max_turn_tokens=2048),
    **cite(f"{_A2}: 4096 + 2048", max_tokens=6144, row_length=6144),
    **cite("one turn", max_turns=1, max_zooms=0, diversity_bonus=False),
    **cite("code: a reply cut off at its limit is learned from", unfinished="keep"),
    **cite("code", validate_every=25, max_pixels=4_194_304),
}

GRPO_MULTITURN: Values = {
    **_GRPO,
    **cite(_A3, num_steps=500, learning_rate=1e-6, weight_decay=0.01, examples_per_step=128, group_size=8),
    **cite(_A3, kl_coefficient=0.01, clip_high=0.28, max_grad_norm=0.2, temperature=1.0, top_p=0.99),
    **cite(_A3, warmup_ratio=0.05, max_turns=5, max_prompt_tokens=4096, max_turn_tokens=1024),
    **cite(
        f"{_A3}: gradient batch 64; code: 64 episodes of 1024, not 64 examples, which would be 2",
        updates_per_step=16,
    ),
    **cite(f"{_A3}: 4096 + 4096 with observations; code: 4096 + 2048", max_tokens=8192, row_length=8192),
    **cite("code: at most 5 images, the whole one among them", max_zooms=4),
    **cite("section 4.3: +0.2 for each further point; code: nothing for the first", diversity_bonus=True),
    **cite("section 4.3: a last turn begins inside the answer", forces_answer=True),
    **cite("code: no loss on them, and their reward counts in the group", unfinished="drop_from_loss"),
    **cite("code: no validation during multi-turn training, one at the end", validate_every=None),
    **cite("code", max_pixels=4_194_304),
}

SFT_SINGLE_TURN: Values = {**SFT, **cite("one turn", max_turns=1, max_zooms=0, max_turn_tokens=2048)}
SFT_MULTITURN: Values = {
    **SFT,
    **cite(f"{_A3}, for validation; stored dialogues have up to 5 zooms", max_turns=5, max_turn_tokens=1024),
    **cite("code, for validation: at most 5 images, the whole one among them", max_zooms=4),
}
