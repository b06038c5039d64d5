"""How long it takes to count what a run would cost."""

import random
from collections.abc import Sequence

from bench.measure import run_process
from bench.programs import LLMBATCH, RUN_LIMIT_S, Bench
from bench.table import Figure, Section, at_most

ROWS = 100_000
WORDS = (
    *("the", "of", "and", "a", "model", "prompt", "reading", "water", "price", "garden", "seven"),
    *("nothing", "always", "light", "letter;", "however,", "(sometimes)", "1234", "Straße"),
)
MODELS: dict[str, Sequence[str]] = {
    "one model": ("openai/gpt-4o-mini",),
    "two models": ("openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"),
}


def estimate(bench: Bench) -> Section:
    """`llmbatch estimate` over rows of 700 characters, whole process."""
    source, draw = bench.folder / "long.jsonl", random.Random(1)
    with source.open("w") as out:
        for _ in range(ROWS):
            out.write(f'{{"prompt":"{" ".join(draw.choices(WORDS, k=110))}"}}\n')
    figures = []
    for name, models in MODELS.items():
        named = [word for model in models for word in ("-m", model)]
        run = run_process([LLMBATCH, "estimate", str(source), *named], limit_s=RUN_LIMIT_S)
        figures.append(Figure(f"{name}, CPU", run.cpu_s, "s"))
        figures.append(Figure(f"{name}, wall", run.wall_s, "s", at_most(10)))
        figures.append(Figure(f"{name}, peak", run.peak_bytes / 1e6, "MB"))
    return Section("estimate", f"{ROWS:,} rows of about 700 characters", figures)
