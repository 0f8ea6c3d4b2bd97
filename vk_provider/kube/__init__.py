"""Talks to any Kubernetes API server; knows nothing of virtual nodes.

auth (credentials from kubeconfigs) -> client (requests) -> objects (what is decoded, and how little) -> informer (list
and watch) -> workqueue (who reconciles what, when) -> recorder (Events).
"""
