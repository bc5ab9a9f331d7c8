"""The learner: from finished episodes to new parameters.

Belongs here: advantages, batches, log-probs of the network at hand, losses, the training state and its update, how it
is sharded and kept on disk. Does not belong here: how episodes are sampled (sampling, rollout), what a reward is
(reasoning), flags and presets (experiments).
"""
