"""How a call of litellm's functions is shown where `progress` is given."""

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, nullcontext

from llmbatch_cli.compat.exceptions import OpenAIError
from llmbatch_cli.compat.response import ModelResponse
from llmbatch_cli.core.events import Finished, Observer, Started, ignore
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Failure, Outcome
from llmbatch_cli.ui.progress import shown

Result = ModelResponse | OpenAIError


def display(
    model: str, conversations: object, *, wanted: bool
) -> AbstractAsyncContextManager[Observer]:
    """The observer of a call, for the time of an `async with`."""
    return shown(model, conversations) if wanted else nullcontext(ignore)


async def observed(place: int, answer: Awaitable[Result], observe: Observer) -> Result:
    """The answer, or its exception, to the conversation at this place."""
    observe(Started(place))
    result = await answer
    observe(Finished(_outcome(place, result)))
    return result


def _outcome(place: int, result: Result) -> Outcome:
    if isinstance(result, OpenAIError):
        kind = getattr(result.__cause__, "kind", type(result).__name__)
        failure = Failure(kind, result.message, result.status_code)
        return Outcome(place, place, result.model, result.llm_provider, error=failure)
    used, choice = result.usage, result.choices[0]
    usage = Usage(used.prompt_tokens, used.completion_tokens, used.total_tokens)
    completion = Completion(choice.message.content, choice.finish_reason, usage=usage)  # type: ignore[arg-type]
    return Outcome(place, place, result.model, None, completion)
