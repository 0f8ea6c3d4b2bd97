"""Measures what it costs to serve a member, on real API servers: `make bench`. Limits and goals: `budget`.

Only counts, bytes and ratios within one run decide: they hardly depend on the speed and load of the machine. CPU time
and seconds are only shown. Requests are from the audit logs of the API servers, CPU and memory from the kernel. No
value comes from the program under test.

In reading order:

budget        the rows, with their limits and goals
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
    receive       the CPU of the provider's informer for a watch event, and that of a plain decoding loop
    clusters      the clusters, and the program's user in them
measurements  measured values and their verdicts
    report        the table and the JSON
    cli           the command line
    compare       measures two checkouts in turn: `make bench-compare`
"""
