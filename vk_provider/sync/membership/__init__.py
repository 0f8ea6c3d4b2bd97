"""Joining and leaving: access, kubeconfig, report, drain."""
