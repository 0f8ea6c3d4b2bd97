"""The command line: one file per command (join, unjoin, status, plan-failover, run) under one group (root).

parent (the cluster that every command talks to) -> terminal (what a person sees), options (what a person writes) ->
members, install, watching (questions to the parent that several commands ask) -> the commands.
"""
