"""Released files and benchmarks turned into tensorflow-datasets files, and read back with random access.

Belongs here: opening archives and folders safely, one reader and writer per file layout, the table of
datasets, the checks that every record passes, the resumable writer, the readers. Does not belong here:
prompts and rewards (reasoning), scoring (tasks, evaluation), pixels on a device (processing), anything that
imports JAX or TensorFlow.
"""
