"""What tests, notebooks and first steps share: tiny models, a byte tokenizer, the PyTorch model as a reference.

Nothing here is imported by the rest of the package, and nothing here is tuned to make a check pass.
"""
