"""The command line: one file per command, under one group (root).

parent (the cluster that every command talks to) -> terminal (output), options (input) -> members, install, watching
(what several commands ask the parent) -> the commands.
"""
