"""Chat completions at a host of hosts.py: OpenAI's wire, with the differences of its row."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from llmbatch_cli.core.errors import (
    ContextLength,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    UnsupportedParameter,
)
from llmbatch_cli.core.types import Completion, Message, Request, WireReply, WireRequest
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.hosts import HOSTS, Host
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.wire.answers import extras
from llmbatch_cli.providers.wire.context_words import CONTEXT_LENGTH
from llmbatch_cli.providers.wire.errors import (
    COMMON_CODES,
    ErrorBody,
    ErrorClass,
    ErrorRules,
    error_of,
)
from llmbatch_cli.providers.wire.limits import until_s
from llmbatch_cli.providers.wire.replies import count, mapping, text_or_none


class Compatible(OpenAI):
    """One compatible host.

    Args:
        settings: its name finds the row.
        host: the row itself, for one that is in no table.
    """

    own_hosts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Settings, host: Host | None = None) -> None:
        self.host = host or settings.host or HOSTS[settings.name]
        self.reports_cost = bool(self.host.cost)
        self.rules = ErrorRules(
            words=(*self.host.words, (CONTEXT_LENGTH, ContextLength)),
            words_of_overload=True,
            codes={**COMMON_CODES, **self.host.codes},
            statuses=self.host.statuses,
        )
        super().__init__(settings)
        self._headers.update(self.host.headers)
        if self.host.stream_fields is not None:
            self._stream_fields = self.host.stream_fields

    def build(self, request: Request) -> WireRequest:
        messages, params = request.messages, request.params
        if not self.host.developer:
            messages = [_as_system(message) for message in messages]
        kind = mapping(params.get("response_format")).get("type")
        if kind in self.host.no_formats:
            hint = f"no {kind} here: use json_object and describe it, or use --drop-params"
            raise UnsupportedParameter("response_format", f"{self.name}/{request.model}", hint=hint)
        effort = params.get("reasoning_effort")
        if isinstance(effort, str) and effort in self.host.efforts:
            rest = {name: value for name, value in params.items() if name != "reasoning_effort"}
            params = {**self.host.efforts[effort], **rest}
        changed = Request(request.model, messages, params, request.stream, request.ledger)
        return super().build(changed)

    def at_usual_address(self) -> bool:
        return self.base_url == self.host.base_url

    def neutral(self, request: Request) -> Mapping[str, Any]:
        return self.host.refused

    def renamed(self) -> Mapping[str, str]:
        return self.host.renamed

    def is_error(self, body: Mapping[str, Any]) -> bool:
        """MiniMax reports its errors in `base_resp`, whose code is 0 for success."""
        code = mapping(body.get("base_resp")).get("status_code")
        return super().is_error(body) or bool(count(code))

    def read(self, body: dict[str, Any]) -> Completion:
        completion = super().read(body)
        host = self.host
        if host.cost:
            completion.cost_usd = _amount(body.get("usage"), host.cost, host.costs_per_usd)
        if host.extras:
            found = extras({name: body.get(name) for name in host.extras})
            completion.extras = {**completion.extras, **found}
        return completion

    def failed(self, error: ErrorBody, reply: WireReply, model: str) -> ProviderError:
        """The error, with the wait that OpenRouter puts into its body."""
        headers = mapping(mapping(error.fields.get("metadata")).get("headers"))
        reset = text_or_none(headers.get("X-RateLimit-Reset")) or ""
        if until_s(reset) is not None:
            reply = replace(reply, headers={"retry-after": reset, **reply.headers})
        failed = super().failed(error, reply, model)
        # OpenRouter answers 402 while requests in flight hold the last credit.
        waits = isinstance(failed, OutOfQuota) and reply.status in self.host.waits
        if waits and failed.retry_after_s is not None:
            return error_of(RateLimited, error.message, reply, self._api_key)
        return failed

    def error_class(self, error: ErrorBody) -> ErrorClass:
        flagged = any(mapping(error.fields.get("metadata")).get(flag) for flag in self.host.flags)
        return Refused if flagged else super().error_class(error)


def _as_system(message: Message) -> Message:
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def _amount(usage: object, path: Sequence[str], per_usd: float) -> float | None:
    """The cost in US dollars, or None where the host does not report it."""
    found = usage
    for step in path:
        found = mapping(found).get(step)
    try:
        amount = float(found) if isinstance(found, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    if isinstance(found, bool) or amount is None or not 0 <= amount < 1e18:
        return None
    return amount / per_usd
