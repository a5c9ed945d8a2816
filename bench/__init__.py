"""Benchmarks of Casona against its peers, by one command: `make bench`. Read `__main__.py` first."""
