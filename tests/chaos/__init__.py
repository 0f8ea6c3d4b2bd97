"""A long randomized run: users, strangers and faults on two members, and invariants that hold all the time.

    python -m tests.chaos --seconds 3600 --seed 7        (make chaos)

In reading order:

    history     what was observed: pods of all three API servers, containers, and who deleted what
    invariants  pure functions over a history: what must never be seen
    plan        what happens and when: a pure function of the seed
    world       clusters, links, the provider; how each step is carried out
    kubelet     the node of a member: runs containers, and remembers each
    watching    pods of an API server into the history
    settled     what must be true once everything has come to rest
    driver      rounds: a plan is carried out, everything heals and settles, and is checked
"""
