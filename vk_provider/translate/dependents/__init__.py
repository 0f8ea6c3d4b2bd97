"""Decisions about what a pod needs beside it: which objects, and their form in the member."""
