"""The pods of a virtual node: creation, status, events, orphans, and the return of a member."""
