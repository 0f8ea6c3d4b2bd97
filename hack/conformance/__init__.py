"""`make conformance`: the conformance tests of Kubernetes on a parent of virtual nodes, compared with a plain cluster.

The same version of the tests runs on both, one after the other. The machine causes what fails on both; the provider
causes what fails only on the parent.

    worlds    starts and removes the two clusters
    suite     runs the tests on one of them; lists the skipped tests, with reasons
    report    the comparison
"""
