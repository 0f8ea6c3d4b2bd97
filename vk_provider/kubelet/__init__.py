"""The HTTPS server of a virtual node: the kubelet API as kube-apiserver uses it.

server -> ports, connections (bounded until the client is known) -> auth (who) -> routes (what, with which permission)
-> handlers -> logs, streams (to the member's API server), metrics (from the member's nodes), own_metrics. splice joins
two upgraded connections byte by byte; tls keeps the serving certificate current, and certs obtains it.
"""
