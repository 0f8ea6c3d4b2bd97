"""The control loops, a folder for each part; a part never imports another one, member.py hands them to each other.

    membership   is it reached, may we, which cluster is it (connection, access); report, conditions; leave, abandon
    state        what is known of it now: one writer (health), read by all others
    nodes        the virtual node: status, labels and taints, Lease, holds
    dependents   what pods need in the member: namespaces, Services, copies, tokens, certificates
    pods         decide, and carry it out (loop, member_pods); status back to the parent; Events; orphans
    parent       what is watched once for the parent, for all members

At the top is what parts share: pod_caches (the pods of a virtual node on both sides) and node_edit (read-modify-write
of a Node).
"""
