"""Pure functions between a parent and a member: no I/O, no clock, no state.

decide (what to do about a pod) -> pod (parent pod to member pod) -> dependents (what it needs beside it) -> status
(back) -> node (a member as one node), over names (what things are called on the other side) and quantity.
"""
