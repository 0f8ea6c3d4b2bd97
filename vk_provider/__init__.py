"""vk-provider: many Kubernetes clusters as one; each member cluster is a virtual node of the parent.

The map, in reading order. A pod passes through it from left to right:

    sync/pods/loop -> translate/pods/decide -> sync/pods/member_pods -> translate/pods/pod -> kube/client   (created)
    sync/pods/loop -> translate/pods/decide -> sync/pods/member_pods -> sync/pods/status -> kube/client     (reflected)

    cli/          one file per command
    app           the process: which MemberClusters it serves, a supervisor for each
    supervisor    one MemberCluster: attempts, pauses, abandoning it
    member        one member, composed from top to bottom
    virtual_node  what exists once per virtual node of a member
    parent        the parent, waited for at the start and shared by all members
    caches        the informer caches that the loops of one member read
    sync/         control loops, a folder for each part: membership, state, nodes, dependents, pods, parent
    kubelet/      the kubelet API of a virtual node: logs, exec, metrics
    translate/    decisions without I/O and clock, in folders with the names of the parts that use them
    kube/         any API server: credentials, requests, informers, the work queue
    api/          MemberCluster, and every label, annotation and condition of ours
    errors, telemetry, config, observable: what every layer uses

docs/architecture.md has the picture, and docs/how-to/extend.md names the files to change.
"""

__version__ = "0.1.0"
