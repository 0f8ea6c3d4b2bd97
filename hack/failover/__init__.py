"""How long a failover takes, and that a short cut moves nothing: `make bench-failover`.

figures   what is measured, and what it may be
runs      one measurement each, on clusters that are up
__main__  the command line: clusters up, measurements, the table and JSON, clusters down
"""
