"""How this program authenticates to an API server: kubeconfigs, and credentials that keep themselves fresh."""
