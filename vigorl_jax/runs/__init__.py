"""Runs: what joins examples, roll outs, rewards, the learner and the report into jobs that can be stopped and go on.

Here belong the jobs of training, their loop, settings, data and logs. What a loss, a roll out or a reward is belongs
below; flags and presets belong to `experiments`.
"""
