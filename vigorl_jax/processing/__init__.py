"""Text and pixels to arrays: tokenizer, chat template, safe decoding, frames, and patches made on the device.

Here belongs what turns a user's text and image files into the model's inputs and back. `decode`, `frames`, `settings`,
`resample`, `tokenizer` and `chat` never import JAX; `images` and `patches` do. What is asked and what an answer is
worth (tasks, reasoning), the network (qwen25vl) and anything that samples tokens do not belong here.
"""
