"""From given tokens and images to sampled tokens with their exact log-probs.

Belongs here: how a token is drawn, the key-value caches and the jitted steps that fill them, image embeddings kept
for reuse, slots and continuous batching, stop automata, the memory that all of it takes. Does not belong here: text,
tasks, what a turn means, rewards, the learner.
"""
