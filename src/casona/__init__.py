"""Casona: a private AI server for the house. Start reading at `casona.serve`."""

__version__ = "0.1.0"
