"""The tree of errors."""

import pickle

import pytest

from llmbatch_cli.core import errors

ERRORS = [
    errors.RowFailed("no answer", kind="rejected", status=400, retryable=False),
    errors.RateLimited("slower", status=429, retry_after_s=2.0, hint="wait"),
    errors.MissingKey("no key", hint="set KEY"),
    errors.NotFinished("queued", None, status=200),
    errors.BadRows("2 invalid rows", hint="mend them", reasons=["a:1: no", "a:2: no"]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda one: type(one).__name__)
def test_an_error_goes_from_process_to_process(error: errors.LlmbatchError) -> None:
    """As multiprocessing and process pools send it."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_frames_are_dropped_from_causes_that_lead_back_to_their_effect() -> None:
    """An error in which the chain of causes is a ring loses its frames, and does not hang."""
    effect, cause = errors.BadReply("no JSON"), ValueError("no JSON")
    for one, other in ((effect, cause), (cause, effect)):
        with pytest.raises(type(one)):
            raise one from other
    assert effect.without_frames() is effect
    assert (effect.__traceback__, cause.__traceback__) == (None, None)
