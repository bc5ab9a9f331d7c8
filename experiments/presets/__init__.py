"""Runs by name: what every run of the paper was set to, with the source of each value, and tiny runs beside them.

Belongs here: values, and where they come from. Does not belong here: what a value does (`vigorl_jax.runs.settings`).
"""
