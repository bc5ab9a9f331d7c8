"""The network: arrays in, arrays out, and its weights on disk.

What belongs here: the configuration, layers, vision tower, language model, KV cache, and the maps between
parameters and Hugging Face names. What does not: text, image files, rewards, training.

Modules are Flax NNX, for definition only; parameters are a nested dict of arrays, and every call is a plain function:

  config, params = weights.load("Qwen2.5-VL-3B-Instruct", dtype="bfloat16")
  forward = jax.jit(lambda params, *inputs: model.bind(config, params)(*inputs))
  logits = forward(params, tokens, positions, image_slots, images)
  weights.save("somewhere", config, params)  # transformers loads it

`inputs` makes the arrays of text, `vision` those of images; `testing.comparison` shows every call, and
`notebooks/2_parity_with_pytorch.ipynb` every layer.
"""
