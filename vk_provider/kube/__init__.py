"""Talks to any Kubernetes API server; knows nothing about virtual nodes.

auth (credentials from kubeconfigs) -> client (requests) -> objects (what is decoded, and how little) -> informer (list
and watch; resume decides where a watch continues) -> workqueue (when a key is reconciled) -> recorder (Events). keys,
timestamps and backoff: private keys, RFC 3339 and pauses between attempts, each in one place for the whole program.
"""
