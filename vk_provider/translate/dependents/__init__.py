"""Decisions about the dependents of pods: which objects they need, and their form in the member."""
