"""vk-provider: many Kubernetes clusters as one; each member cluster is a virtual node of the parent.

The map, in reading order; a pod passes through it from left to right:

    sync/pods -> translate/decide -> translate/pod -> kube/client -> sync/status

    cli/        one file per command
    app         the process: watches MemberClusters, supervises a Member for each
    connect     the parent, found and waited for at the start
    member      one member wired end to end (caches: what its loops look at)
    sync/       control loops of one member
    kubelet/    the kubelet API of a virtual node: logs, exec, metrics
    translate/  pure functions between parent and member
    kube/       any API server: credentials, requests, informers, the work queue
    api/        MemberCluster, and every label, annotation and condition of ours
"""

__version__ = "0.1.0"
