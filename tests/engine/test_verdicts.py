"""What has failed for one row fails for all, unless the model answers, or refuses otherwise."""

import asyncio

from llmbatch_cli.core.errors import ProviderError, Rejected, Unauthorized, UnknownPath
from llmbatch_cli.core.ledger import Ledger
from llmbatch_cli.engine.verdicts import Verdicts


async def fail(verdicts: Verdicts, error: ProviderError) -> bool:
    """Whether the error of a call is final, once those that were under way have ended."""
    try:
        with verdicts.calling("m", Ledger()):
            raise error
    except ProviderError:
        await verdicts.settle("m", error)
    return verdicts.is_final("m", error)


async def test_a_call_under_way_may_still_be_answered() -> None:
    """The first row's 404 waits for the others in flight, and is its own where one is answered."""
    verdicts = Verdicts()
    with verdicts.calling("m", Ledger()):
        verdict = asyncio.ensure_future(fail(verdicts, UnknownPath("x")))
        await asyncio.sleep(0)
        assert not verdict.done()
    assert await verdict is False
    assert await fail(verdicts, UnknownPath("x")) is False


async def test_rows_that_fail_alike_are_hopeless_and_others_are_not() -> None:
    """A server that has refused another row in another way has this path; a bad key is final
    all the same."""
    verdicts = Verdicts()
    assert await fail(verdicts, UnknownPath("x")) is True
    assert await fail(verdicts, UnknownPath("x")) is True
    assert await fail(verdicts, Rejected("y")) is False
    assert await fail(verdicts, UnknownPath("x")) is False
    assert await fail(verdicts, Unauthorized("z", status=401)) is True
