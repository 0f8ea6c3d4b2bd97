"""A long randomized run on two members: users, other clients and faults act, and the invariants are always checked.

    python -m tests.chaos --seconds 3600 --seed 7        (make chaos)

In reading order:

    history     the observations: pods of all three API servers, containers, and deletions by other clients
    invariants  pure functions over a history that return violations
    plan        the steps of a round, with their times: a pure function of the seed
    world       clusters, links and the provider; performs the steps
    kubelet     the node of a member: runs containers, and records each
    watching    writes the pods of an API server into the history
    in_sync     what must be true once parent and members are in sync
    driver      rounds: performs a plan, heals all faults, waits until everything is in sync, and checks
"""
