"""Binaries: flags -> frozen config -> one call, at most 120 lines each, run as `python -m experiments.NAME`.

What belongs here: reading flags, printing results, exit codes. What does not: anything that a second
binary or a notebook would want to import; that is the library's.
"""
