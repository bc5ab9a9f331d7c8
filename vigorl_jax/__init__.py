"""ViGoRL in JAX: visually grounded reinforcement learning with a Flax port of Qwen2.5-VL.

One word per concept, in code, flags and metric names:

example   one dataset record: images, question, reference answer, task
task      a family with one prompt, one way to be right and one zoom preset
turn      one assistant message; it ends in a zoom or an answer
thought   one reasoning step inside a turn, with its point
point     an integer (x, y) in a stated frame
frame     a pixel coordinate system with exact maps to the others
zoom      the tool call and the crop that it brings
segment   tokens of one origin, given or sampled, with the images that they bring in
episode   the whole conversation on one example: segments and a status
group     the G episodes of one example
batch     padded or packed arrays made of episodes
policy    the model and parameters used for sampling
learner   the jitted update
preset    a named, frozen configuration of a paper run

This file holds no code: import the modules that you need.
"""
