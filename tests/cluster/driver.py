"""The program with a shorter lease, given in LEASE_S: tests cannot wait for the real one."""

import os

from llmbatch_cli.cli import cluster_run

vars(cluster_run)["LEASE_S"] = float(os.environ["LEASE_S"])

if __name__ == "__main__":
    from llmbatch_cli.__main__ import main

    main()
