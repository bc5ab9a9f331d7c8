"""One module a family of file layouts: how a row becomes a draft, and an example a row again.

Belongs here: the names and types of each layout's fields, both ways. Does not belong here: opening files
(sources, rows), checking images and boxes (checks), which data set has which layout (catalog).
"""
