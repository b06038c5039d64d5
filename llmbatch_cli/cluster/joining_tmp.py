from dataclasses import replace
from pathlib import Path

from llmbatch_cli.cluster.shards import Shard


def joined(cuts, target):
    shards, held, n, index = [], [], 0, 0
    for cut in cuts:
        for piece in cut.pieces:
            held.append(replace(piece, first_index=index))
            n += piece.rows
            index += piece.rows
            if n >= target:
                shards.append(Shard(len(shards), held))
                held, n = [], 0
    if held:
        shards.append(Shard(len(shards), held))
    return shards


def fingerprint(name):
    return {"size": Path(name).stat().st_size}
