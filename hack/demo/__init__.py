"""`make demo`: a parent and two member clusters, used with plain kubectl.

world     starts and stops the clusters and the provider
scenes    what a user does, and what must be true afterwards
screen    the output on the terminal
__main__  the command line
"""
