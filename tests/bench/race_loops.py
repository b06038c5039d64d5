"""One race after another by one library call: `python race_loops.py LIBRARY BASE_URL MODEL...`.

LIBRARY is `llmbatch` or `litellm`; it is run by the interpreter of its own environment, and both
are called by the same words. The last line printed is
{"race_s": [...]}: the seconds of each race, after a first one that is thrown away.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

RACES = 5


def library(name: str) -> Callable[..., Any]:
    """batch_completion_models as the library exports it."""
    if name == "llmbatch":
        from llmbatch_cli import batch_completion_models

        ours: Callable[..., Any] = batch_completion_models
        return ours
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise importing it asks the internet
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    theirs: Callable[..., Any] = litellm.batch_completion_models
    return theirs


def race_s(batch_completion_models: Callable[..., Any], url: str, models: list[str]) -> float:
    """Seconds until the call returns."""
    messages = [{"role": "user", "content": "Which is first?"}]
    started = time.perf_counter()
    answer = batch_completion_models(
        models=models, messages=messages, api_base=url, api_key="no-key"
    )
    took_s = time.perf_counter() - started
    if not answer.choices[0].message.content:
        raise RuntimeError("the race has no answer")
    return took_s


if __name__ == "__main__":
    name, base_url, *names = sys.argv[1:]
    call = library(name)
    times = [race_s(call, base_url, names) for _ in range(RACES + 1)]
    print(json.dumps({"race_s": times[1:]}))
