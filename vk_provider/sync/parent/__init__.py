"""What is watched or done once for the parent, for all members."""
