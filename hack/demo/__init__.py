"""The main job in one command: a parent, two member clusters, and plain kubectl.

world (the clusters and the provider, up and down) -> scenes (what a user does, and what must hold) -> screen (how it is
shown) -> __main__ (the command line).
"""
