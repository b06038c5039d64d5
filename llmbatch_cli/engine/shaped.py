"""Answers of a given shape: asked for, read, and asked for again where they do not fit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from llmbatch_cli.core.errors import InvalidOutput, ProviderError, Rejected, UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.privacy import without_prompt
from llmbatch_cli.core.types import Call, Completion, Message, Params, Parsed, Request, WireRequest
from llmbatch_cli.engine.answers import Answer
from llmbatch_cli.engine.cache.calls import fits_format
from llmbatch_cli.engine.calls import UNFORESEEN
from llmbatch_cli.engine.validate import Unfit

CUT_OFF: Final = {
    "length": "it is cut off by length",
    "content_filter": "it is cut off by the content filter",
}
"""Finish reasons of an answer that is not whole. To ask again would only pay for it again."""


class Keeper(Protocol):
    """Keeps answers: see engine/cache/."""

    def keep(self, request: Request, completion: Completion) -> None:
        """Keep the answer to this request."""


@frozen
class AnswerShape:
    """What every answer of a run has to be."""

    read: Callable[[str, bool], Answer]
    """What an answer's text says; the second argument is whether it is whole. Raises Unfit."""
    wanted: str
    """In words, behind "Answer again, with"."""
    name: str
    """Another one for every other shape: a part of each row's key."""
    response_format: Mapping[str, Any] | None = None
    """What asks for it in the provider's own form."""
    instruction: str | None = None
    """What asks for it in words, where the provider has no form of its own."""
    schema: Any = None
    """The JSON schema of its data; None where it has none."""
    keeps_part: bool = False
    """Whether the row's text is only the part that was wanted."""
    retries: int = 2
    """How often it is asked for again."""

    def asked_of(
        self,
        model: str,
        params: Params,
        build: Callable[[Request], WireRequest],
        tell: Callable[[str], None],
    ) -> "Shaped":
        """How this model is asked for it; `build` raises UsageError for what its API lacks.

        `tell` is told, once, that it is asked by an instruction. Raises UsageError where the
        parameters ask for something else.
        """
        form = self.response_format
        if form is None:
            return Shaped(self, native=False)
        if "response_format" in params:
            raise UsageError(
                "response_format and a schema or choices exclude each other", hint="leave one out"
            )
        native = True
        try:
            build(Request(model, [{"role": "user", "content": "?"}], {"response_format": form}))
        except UsageError:
            native = False
        return Shaped(self, native=native, tell=tell)


class Shaped:
    """How one model is asked for answers of a shape."""

    def __init__(
        self,
        shape: AnswerShape,
        *,
        native: bool,
        tell: Callable[[str], None] = lambda message: None,
    ) -> None:
        """
        Args:
            shape: what is asked for.
            native: whether the model's API has a form of its own for it.
            tell: is told, once, that the model is asked by an instruction.
        """
        self._shape = shape
        self._native = native and shape.response_format is not None
        self._answered = False
        """Whether the model has answered in its own form."""
        self._tell = tell
        if shape.response_format is not None and not native:
            self._tell_instructed("its API has no JSON schema")

    def params(self, params: Params) -> Params:
        """The parameters with the provider's own form in them, where it has one."""
        if not self._native or self._shape.response_format is None:
            return params
        return {**params, "response_format": self._shape.response_format}

    def first_asked(self, request: Request) -> Request:
        """The request as it is sent first."""
        is_asked = self._native or self._has_own_form(request)
        return request if is_asked else self._instructed(request)

    def fits(self, completion: Completion, request: Request) -> bool:
        """Whether the answer has the form; any has where the row asks for a form of its own."""
        if self._has_own_form(request):
            return fits_format(completion, request)
        if completion.text is None:
            return True
        try:
            self._answer(completion.text, whole=True)
        except Unfit:
            return False
        return True

    def around(self, call: Call, *, once: bool = False, known: Keeper | None = None) -> Call:
        """The call, whose answers are read. It raises InvalidOutput for one that does not fit.

        `once`: never ask again, as where an answer is shown while it comes. `known` is given the
        answer to a request that was asked again, so that it is known the next time.
        """
        retries = 0 if once else self._shape.retries

        async def shaped(request: Request) -> Completion:
            if self._has_own_form(request):
                return await call(request)
            asked, left = request, retries
            while True:
                completion = await self._asked(call, asked)
                text = completion.text
                if text is None and completion.tool_calls:
                    return completion
                try:
                    self._read(completion)
                except InvalidOutput as error:
                    ledger = request.ledger
                    if ledger.attempts and not ledger.cached:
                        ledger.attempts[-1].kind = error.kind
                    if not left or completion.finish_reason in CUT_OFF:
                        raise
                    ledger.cause = error.without_frames()
                    asked, left = self.asked_again(request, error), left - 1
                    asked.again = retries - left
                else:
                    if asked is not request:
                        self._keep(request, completion, known)
                    return completion

        return shaped

    def _has_own_form(self, request: Request) -> bool:
        own = request.params.get("response_format")
        return own is not None and self._shape.response_format not in (None, own)

    def _keep(self, request: Request, completion: Completion, known: Keeper | None) -> None:
        """Keep the answer that fits under the request as it was sent first, if that says what
        is wanted; without, another run may want all of the answer."""
        if known is not None and self._shape.response_format is not None:
            known.keep(request if self._native else self._instructed(request), completion)

    def _read(self, completion: Completion) -> None:
        text, cut_off = completion.text or "", CUT_OFF.get(completion.finish_reason or "")
        try:
            if not text.strip():
                raise Unfit("it is empty")
            answer = self._answer(text, whole=cut_off is None)
        except Unfit as unfit:
            reason = f"{cut_off}, and {unfit.reason}" if cut_off else unfit.reason
            hint = "raise --max-tokens" if completion.finish_reason == "length" else None
            raise InvalidOutput(
                f"the answer does not fit: {reason}", text=text, reason=reason, hint=hint
            ) from None
        completion.parsed = Parsed(answer.data, answer.repaired)
        if self._shape.keeps_part and answer.text is not None:
            completion.text = answer.text

    def _answer(self, text: str, *, whole: bool) -> Answer:
        try:
            return self._shape.read(text, whole)
        except UNFORESEEN as error:  # as of a class's own checks, or what is nested too deep
            raise Unfit(f"it cannot be read ({error!r})") from error

    async def _asked(self, call: Call, request: Request) -> Completion:
        """The answer, asked for in the provider's own form as long as it takes that."""
        if not self._native:
            return await call(self._instructed(request))
        try:
            completion = await call(request)
        except Rejected as error:
            if type(error) is not Rejected or self._answered:
                raise
            rejected: ProviderError = error.without_frames()
        else:
            self._answered = True
            return completion
        try:
            completion = await call(self._instructed(request))
        except Rejected:
            raise rejected from None  # so it was not for the form
        if self._native and not self._answered:
            self._native = False
            said = without_prompt(rejected.message, request.messages)
            self._tell_instructed(f"it refuses a JSON schema ({said})")
        return completion

    def _instructed(self, request: Request) -> Request:
        """The request with what is wanted in words."""
        instruction = self._shape.instruction
        if instruction is None:
            return request
        params = {k: v for k, v in request.params.items() if k != "response_format"}
        messages = with_text(request.messages, instruction)
        return replace(request, messages=messages, params=params)

    @property
    def retries(self) -> int:
        """How often an answer is asked for again."""
        return self._shape.retries

    def asked_again(self, request: Request, error: InvalidOutput) -> Request:
        """The request with the answer, and what is wrong with it."""
        wanted = f"Answer again, with {self._shape.wanted}."
        if not error.text.strip():  # no API takes an empty message
            return replace(request, messages=with_text(request.messages, wanted))
        messages: Sequence[Message] = [
            *request.messages,
            {"role": "assistant", "content": error.text},
            {"role": "user", "content": f"This answer cannot be used: {error.reason}. {wanted}"},
        ]
        if self._native and self._shape.instruction is not None:  # it may not have seen the form
            messages = with_text(messages, self._shape.instruction)
        return replace(request, messages=messages)

    def _tell_instructed(self, reason: str) -> None:
        self._tell(f"{reason}, so it is asked by an instruction; each answer is checked")


def with_text(messages: Sequence[Message], text: str) -> Sequence[Message]:
    """The messages with this text at the end of the user's last one."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            longer: Any = f"{content}\n\n{text}"
        else:
            longer = [*(content or ()), {"type": "text", "text": text}]
        return [*messages[:place], {**message, "content": longer}, *messages[place + 1 :]]
    return [*messages, {"role": "user", "content": text}]
