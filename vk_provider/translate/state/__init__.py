"""Decisions about the state of a member: its health, and the freeze of losses."""
