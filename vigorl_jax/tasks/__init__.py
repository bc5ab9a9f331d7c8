"""What is asked of the model and when an answer is right: one module a task, and the record of one example.

Belongs here: the Example record, reading an answer out of text, comparing it with the reference, the zoom
preset of each task. Does not belong here: files and downloads (datasets), prompt text, turns and rewards
(reasoning), pixels (processing), anything that imports JAX.
"""
