"""`python -m localkube`."""

from .cli import main

main()
