"""The network: arrays in, arrays out, and its weights on disk.

What belongs here: the configuration, layers, vision tower, language model, KV cache, and the maps between
parameters and Hugging Face names. What does not: text, image files, rewards, training.
"""
