"""Chat completions at a host of hosts.py: OpenAI's wire, with the differences of its row."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from llmbatch_cli.core.errors import (
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    UnsupportedParameter,
)
from llmbatch_cli.core.types import Completion, Message, Request, WireReply, WireRequest
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.hosts import HOSTS, Host
from llmbatch_cli.providers.openai.errors import ERROR_CODES, Said, meaning
from llmbatch_cli.providers.openai.provider import OpenAI, writable
from llmbatch_cli.providers.wire.replies import count, mapping, retry_after_s, until_s


class Compatible(OpenAI):
    """One compatible host.

    Args:
        settings: its name finds the row.
        host: the row itself, for one that is in no table.
    """

    own_hosts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Settings, host: Host | None = None) -> None:
        self.host = host or HOSTS[settings.name]
        self._codes = {**ERROR_CODES, **self.host.codes}
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
        return super().build(Request(request.model, messages, params, request.stream))

    def at_usual_address(self) -> bool:
        return self.base_url == self.host.base_url

    def neutral(self, request: Request) -> Mapping[str, Any]:
        return self.host.refused

    def renamed(self) -> Mapping[str, str]:
        return self.host.renamed

    def parse(self, request: Request, reply: WireReply) -> Completion:
        try:
            return super().parse(request, reply)
        except (OutOfQuota, RateLimited) as error:
            wait_s = retry_after_s(reply.headers)
            if wait_s is None or error.status not in self.host.waits:
                raise
            limited = RateLimited(error.message, status=error.status, retry_after_s=wait_s)
            limited.limits = error.limits
            raise limited from error

    def read(self, body: dict[str, Any], reply: WireReply) -> Completion:
        self._check(body, reply)
        completion = super().read(body, reply)
        host = self.host
        said = mapping(body.get("usage"))
        usage = completion.usage
        if host.cached is not None and usage is not None and usage.cached_tokens is None:
            usage.cached_tokens = count(said.get(host.cached))
        if host.cost:
            completion.cost_usd = _amount(said, host.cost, host.costs_per_usd)
        if host.reasoning is not None and completion.reasoning is None:
            message = mapping(body["choices"][0].get("message"))
            completion.reasoning = _thoughts(message.get(host.reasoning))
        if host.extras:
            found = {name: body[name] for name in host.extras if body.get(name)}
            if found:
                completion.extras = {**completion.extras, **writable(found)}
        return completion

    def _check(self, body: Mapping[str, Any], reply: WireReply) -> None:
        """Raise the error that a 200 tells in an object of the host's own."""
        if self.host.failures is None:
            return
        told = mapping(body.get(self.host.failures))
        code = count(told.get("status_code"))
        if code:
            said = Said(500, str(told.get("status_msg")), str(code), "", told, wrapped=True)
            raise self.failed(said, reply, "")

    def failed(self, said: Said, reply: WireReply, model: str) -> ProviderError:
        """The error, with the wait that OpenRouter tells in its body, where there is no header."""
        error = super().failed(said, reply, model)
        if error.retry_after_s is None and error.slow:
            told = mapping(mapping(said.fields.get("metadata")).get("headers"))
            error.retry_after_s = until_s(told.get("X-RateLimit-Reset"))
        return error

    def meaning(self, said: Said) -> type[ProviderError]:
        host, words = self.host, said.message.lower()
        if any(mapping(said.fields.get("metadata")).get(flag) for flag in host.flags):
            return Refused
        found = next((meant for part, meant in host.words if part in words), None)
        if found is not None:
            return found
        if said.status in host.statuses and said.code not in self._codes:
            return host.statuses[said.status]
        return meaning(said, self._codes)


def _as_system(message: Message) -> Message:
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def _amount(usage: Mapping[str, Any], path: Sequence[str], per_usd: float) -> float | None:
    """The cost in US dollars, or None where the host does not say."""
    found: Any = usage
    for step in path:
        found = mapping(found).get(step)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e18:
        return None
    return found / per_usd


def _thoughts(value: object) -> str | None:
    texts = [mapping(part).get("text") for part in value] if isinstance(value, list) else []
    return "".join(text for text in texts if isinstance(text, str)) or None
