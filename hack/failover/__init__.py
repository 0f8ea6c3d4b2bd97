"""`make bench-failover`: measures the duration of a failover, and checks that a short network cut moves no pods.

results   the measurements, their budgets and the table
runs      one function per measurement, on running clusters
__main__  the command line: starts clusters, measures, prints the table and JSON, removes the clusters
"""
