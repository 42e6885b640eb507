"""AICP for those who use it: the command line, the hub on this machine, the agent SDK."""

__version__ = "0.1.0"
