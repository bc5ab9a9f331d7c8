"""What a grounded, multi-turn episode is: prompts, the grammar of turns, zooms, episodes and rewards.

Belongs here: the wording of prompts and observations, reading and writing turns, the crop, the episode
record, and how an episode is rewarded. Does not belong here: what a task asks and when an answer is right
(tasks), sampling, the loop that rolls episodes out, losses.
"""
