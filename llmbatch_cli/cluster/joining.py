"""The pieces of all inputs joined to shards, whose rows are numbered as one read numbers them."""

from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from typing import Any

from llmbatch_cli.cluster.cuts import Before, Cut
from llmbatch_cli.cluster.cutting import cut_behind
from llmbatch_cli.cluster.shards import Piece, Shard, key_of
from llmbatch_cli.core.events import Notice, Observer, ignore
from llmbatch_cli.rows.input.chooser import sampled
from llmbatch_cli.rows.input.decided import MOST_UNCLEAR
from llmbatch_cli.rows.input.source import Inputs


def joined(
    cuts: Sequence[Cut], inputs: Inputs, target_rows: int, observe: Observer = ignore
) -> list[Shard]:
    """The shards of about so many rows: what the options choose, of the inputs in their order.

    Cuts an input anew where it depends on the rows before. Blocks; raises UsageError where one
    read of all inputs would. `observe` is told what it would be told.
    """
    if inputs.prompt is not None:
        rows = 0 if inputs.limit == 0 else inputs.choice.count_of(1, inputs.limit)
        pieces = [Piece("", "prompt", 0, None, 0, 1, rows)]
        return _shards(iter(pieces if rows else ()), target_rows)
    placed = [*_placed(cuts, inputs, target_rows, observe)]
    return _shards(_Chosen(placed, inputs).pieces(), target_rows)


def _shards(pieces: Iterator[Piece], target_rows: int) -> list[Shard]:
    shards: list[Shard] = []
    held: list[Piece] = []
    rows = 0
    for piece in pieces:
        if held and rows + piece.rows > target_rows:
            shards.append(Shard(len(shards), held))
            held, rows = [], 0
        if held and (both := _both(held[-1], piece)) is not None:
            held[-1] = both
        else:
            held.append(piece)
        rows += piece.rows
    return [*shards, Shard(len(shards), held)] if held else shards


def _both(first: Piece, second: Piece) -> Piece | None:
    """Two pieces as one; None where the second does not follow the first in the same file."""
    if first.end != second.begin or (first.file, first.form) != (second.file, second.form):
        return None
    if {"take", "only"} & first.head.keys() or {"skip", "only"} & second.head.keys():
        return None
    head = {**first.head, "take": second.rows} if "take" in second.head else first.head
    return replace(first, end=second.end, rows=first.rows + second.rows, head=head)


# The inputs, one behind the other


def _placed(
    cuts: Sequence[Cut], inputs: Inputs, target_rows: int, observe: Observer
) -> Iterator[tuple[int, Cut]]:
    """Each cut as it is behind those before it, and the number of rows read before it."""
    before = Before()
    said: set[str] = set()
    kept = 0
    for cut in cuts:
        if before.is_enough(kept, inputs):
            return
        if not _fits(cut, before):
            cut = cut_behind(cut.file, inputs, target_rows, before)
        for notice in cut.notices:
            if (key := key_of(notice)) not in said:
                said.add(key)
                observe(Notice(notice))
        yield before.index, cut
        before.index += cut.read
        kept += sum(piece.rows for piece in cut.pieces)
        if cut.read:
            before.has_rows = cut.has_rows
            before.first.are_invalid = not cut.is_valid
        if cut.last is not None:
            names, field = cut.last
            before.last = frozenset(names), field


def _fits(cut: Cut, before: Before) -> bool:
    """Whether what was read before does not change how the input is read."""
    if not cut.is_guess:
        return before.index == 0 and (cut.is_valid or not cut.read)
    if not cut.read:
        return True
    if not before.has_rows or before.first.are_invalid or not before.index:
        return False
    if before.last is None:
        return True
    names, field = sorted(before.last[0]), before.last[1]
    if names in cut.unclear or len(cut.unclear) == MOST_UNCLEAR:
        return False
    return cut.last is None or cut.last[0] != names or cut.last[1] == field


# What the options choose


class _Chosen:
    def __init__(self, placed: Sequence[tuple[int, Cut]], inputs: Inputs) -> None:
        self._placed = placed
        choice = inputs.choice
        self._repeat = choice.repeat
        kept = sum(piece.rows for _, cut in placed for piece in cut.pieces)
        self._begin = choice.offset
        self._end = choice.offset + choice.left_of(kept, inputs.limit)
        self._sample: Container[int] | None = None
        if choice.sample is not None:
            self._sample = sampled(self._end - self._begin, choice.sample)

    def pieces(self) -> Iterator[Piece]:
        """Those of which rows are chosen, with their indexes."""
        kept, index = 0, 0
        for place, cut in self._placed:
            for piece in cut.pieces:
                chosen = self._chosen(piece, cut, kept + piece.first_index)
                if chosen is not None:
                    head = {**chosen.head}
                    if place != index - head.get("read", 0):
                        head["place"] = place
                    yield replace(chosen, first_index=index, head=head)
                    index += chosen.rows
            kept += sum(piece.rows for piece in cut.pieces)

    def _chosen(self, piece: Piece, cut: Cut, first: int) -> Piece | None:
        """What is chosen of a piece whose first row is this one of all; None for nothing."""
        begin = max(0, self._begin - first)
        end = min(piece.rows, self._end - first)
        if begin >= end:
            return None
        head: dict[str, Any] = {**piece.head}
        head.pop("take", None)
        only: Sequence[int] = range(end - begin)
        if isinstance(self._sample, frozenset):
            start = first + begin - self._begin
            only = head["only"] = [one for one in only if start + one in self._sample]
        if begin:
            head["skip"] = begin
        if end < piece.rows or "take" in piece.head:
            head["take"] = end - begin
        rows = len(only) * self._repeat
        if cut.bad:
            bad = {one - piece.first_index - begin for one in self._bad_of(piece, cut)}
            rows -= (self._repeat - 1) * sum(one in bad for one in only)
        return replace(piece, rows=rows, head=head) if rows else None

    @staticmethod
    def _bad_of(piece: Piece, cut: Cut) -> Sequence[int]:
        end = piece.first_index + piece.rows
        return cut.bad[bisect_left(cut.bad, piece.first_index) : bisect_left(cut.bad, end)]
