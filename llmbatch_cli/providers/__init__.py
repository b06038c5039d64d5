"""The providers: one folder a wire; compatible hosts are rows of hosts.py."""
