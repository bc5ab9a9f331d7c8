"""What a person looks at: the episode viewer, plots and tables.

Belongs here: turning episodes and scores into HTML, figures and tables. Does not belong here: computing scores
(evaluation) or rewards (reasoning), and anything that samples.
"""
