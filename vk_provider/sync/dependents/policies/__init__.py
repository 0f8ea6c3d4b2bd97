"""The parent's NetworkPolicies in a member."""
