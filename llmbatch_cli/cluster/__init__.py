"""One job on many processes: shards of the input, leased to workers by a coordinator.

No part of it gives safety by what it remembers: what makes rows safe lies in files beside the
output. A shard's rows are written under an epoch, in a file of their own that is created
exclusively; a whole shard is published under its final name, once.
"""
