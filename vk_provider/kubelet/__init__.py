"""The HTTPS server of a virtual node: the kubelet API as kube-apiserver uses it.

server (routes) -> auth (who may) -> logs, streams (to the member's API server), metrics (from the member's nodes);
splice joins two upgraded connections byte by byte, certs gets and renews the serving certificate.
"""
