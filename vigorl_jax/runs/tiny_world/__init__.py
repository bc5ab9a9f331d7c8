"""The tiny world: a small model of the family, made from nothing on a CPU for GlyphSearch.

Belongs here: its vocabulary, configuration and first weights, the exercises that teach it to point and to read, the
dialogues of its scripted teacher, and how these stages follow each other. Does not belong here: scenes and teacher
(tasks), how any model is trained (training, runs).
"""
