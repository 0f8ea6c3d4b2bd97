"""A long randomized run on two members: users, other clients and faults act, and the invariants are always checked.

    python -m tests.chaos --seconds 3600 --seed 7        (make chaos)

In reading order:

    history     the observations: pods of all three API servers, Nodes of the parent, containers, deletions by other
                clients, and which faults were in effect
    invariants  pure functions over a history that return violations
    actions     what users and other clients do: a table with weights
    plan        the steps of a round, with their times: a pure function of the seed; the faults of each place
    users, hands, faults    how each action is performed, and how each fault begins and ends
    world       clusters, links and the provider; performs the steps
    accounts    the provider's account in a member: tokens, permissions, addresses
    kubelet, containers     a simulated node of a member, and the containers of a real one
    machines    how nodes of either kind fail and come back
    watching, observers     write what API servers report into the history, in a thread of their own
    in_sync     what must be true once parent and members are in sync
    driver      rounds: performs a plan, heals all faults, waits until everything is in sync, and checks
    leaving     the end: the members leave, and nothing of the provider remains
    setup       starts and removes all of it
"""
