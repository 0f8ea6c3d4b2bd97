"""Pure functions between a parent and a member: no I/O, no clock, no state.

The folders have the names of the parts that use them (state, nodes, pods, dependents, kubelet), and do not import one
another. At the top is what they share: names (what objects are called in a member), references (what a pod's spec
refers to), selectors, tolerations, quantity, and extended resources.
"""
