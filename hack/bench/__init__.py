"""What serving a member costs, measured on real API servers: `make bench`. Limits and goals: `budget`.

Counts, bytes and ratios within one run decide: a slow or busy machine changes them little. CPU time and seconds are
shown and decide nothing. The API servers count requests (audit logs), the kernel counts CPU and memory: nothing here
trusts the program under test.

In reading order:

    budget        the rows: what may cost how much
    run           the whole measurement: the plain cluster, the program between two clusters, execs
    scenario      the program between two clusters, phase by phase
    plain         the same burst in a plain cluster, to compare with
    load          creates, watches and deletes pods (with burst)
    pods          what these pods look like
    latency       bound -> created and Running -> Running, without the API servers' own time
    streams       execs and logs, through the parent and directly (with execs)
    meter         CPU and requests between two moments
    audit         requests, from the API servers' audit logs
    process       CPU and memory, from /proc
    program       the program under test: starts and kills it, notices when it exits
    launcher      this provider with a watch on its event loop (stall)
    receive       the CPU that our informer needs for a watch event, and that of a bare decoding loop
    clusters      the clusters, and the program's user in them
    figures       measured values and their verdicts
    report        the table and the JSON
    cli           the command line
    compare       two checkouts measured in turn: `make bench-compare`
"""
