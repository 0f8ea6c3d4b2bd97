"""The control loops of one member, a file each; none imports another, member.py wires them.

kubeconfig (how is it reached?) -> access (may we, and whom do we talk to?) -> health (does it answer?) -> node (the
virtual node) -> namespaces, services, dependents (what pods need in the member) -> pods (decide, and do it) -> status
(back to the parent) -> events (the member's words about pods) -> leave (the end). parent_services is what all members
share of the parent's Services.
"""
