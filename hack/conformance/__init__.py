"""`make conformance`: the conformance tests of Kubernetes on a parent of virtual nodes, compared with a plain cluster.

The same tests of the same version run on both, one after the other, so that what fails on both is the machine's doing
and what fails on the parent alone is ours.

    worlds    the two clusters, from nothing and back to nothing
    suite     runs the tests on one of them; which are left out, and why
    report    the comparison
"""
