"""Evaluation: how good a policy is, with how much doubt.

Here belong scores over a benchmark and their statistics. How one answer is judged belongs to `tasks`, how an episode is
produced to `rollout`, and files for a reader to `report`.
"""
