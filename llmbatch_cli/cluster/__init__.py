"""One job on several machines: what each of them reads, and how they share the work."""
