"""Decisions about what is known of a member: its health, and the freeze."""
