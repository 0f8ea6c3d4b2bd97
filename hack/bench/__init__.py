"""What serving a member costs, measured on real API servers and held against DESIGN.md §11: `make bench`.

The price is counted in CPU time, memory and requests, which are the same on a busy machine as on an idle one; what is
counted in seconds is shown with its budget too, but decides nothing. Requests are counted by the API servers (their
audit logs), CPU and memory by the kernel: nothing here trusts the program under test.

In reading order:

    budget        what may cost how much: the table
    scenario      the run, phase by phase
    plain         the same burst on a cluster of its own, to compare with
    load          pods made, watched and deleted
    pods          what these pods look like
    latency       from bound to created and from Running to Running, beyond the API servers' own time
    streams       what the way through the parent costs an exec (with execs)
    meter         CPU and requests between two moments
    audit         requests, from the API servers' logs
    process       CPU and memory, from /proc
    program       the program under test: started, killed, watched for its end
    launcher      this provider with a watch on its event loop (stall)
    receive       what receiving one watch event costs our informer
    clusters      the clusters, and the program's own user in them
    figures       from what was measured to the rows of the table
    report        the table and the JSON
    cli           the command line
"""
