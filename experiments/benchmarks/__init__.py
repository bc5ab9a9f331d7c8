"""Measurements behind `experiments.benchmark`: one module a suite, each with a `run` that returns a mapping.

Belongs here: what is timed and against what. Does not belong here: flags, output files, tests of correctness.
"""
