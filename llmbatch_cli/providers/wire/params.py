"""Parameters by OpenAI's names into a request's body: one walk over a table per API."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import field
from typing import Any, Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Message, Request
from llmbatch_cli.providers.wire.draft import Draft

CARRIED: Final = frozenset(("extra_body", "extra_headers"))
"""Parameters of this program's own, which no API has."""

LIMITS: Final = ("max_tokens", "max_completion_tokens")
"""The two names of the limit of an answer; a request has one of them at most."""

Convert = Callable[[Any, Draft], Mapping[str, Any]]
"""A parameter's value as fields of the body, by their paths."""

Rule = str | Convert
"""Where a value goes: the path of its field, or what converts it."""


@frozen(kw_only=True)
class ParamTable:
    """How one API spells parameters. A name that is in no table is a field of the same name."""

    rules: Mapping[str, Rule]
    neutral: Mapping[str, Any] = field(default_factory=dict)
    """Unsupported parameters, each with the one value that changes nothing."""
    own: Mapping[str, Rule] = field(default_factory=dict)
    """The API's own parameters, which come in `extra_body`."""
    merged: Container[str] | None = frozenset()
    """Objects of the body that `extra_body` is merged into instead of replacing; None is all."""
    hint: str | None = None
    """What to do about an unsupported parameter, where that is not to remove it."""

    def add(self, draft: Draft, neutral: Mapping[str, Any] | None = None) -> None:
        """Add the request's parameters to the body, `extra_body` last.

        `neutral` replaces the table's own, where it depends on the model. Raises
        UnsupportedParameter.
        """
        neutral = self.neutral if neutral is None else neutral
        params = draft.request.params
        for name, value in params.items():
            if name in neutral:
                if value != neutral[name]:
                    raise draft.unsupported(name, self.hint)
            elif (rule := self.rules.get(name) or self.own.get(name)) is not None:
                for path, converted in _fields(rule, value, draft):
                    draft.put(path, converted)
            elif name not in CARRIED:
                draft.body[name] = value
        if "extra_body" in params:
            for name, value in params["extra_body"].items():
                self._add_own(draft, name, value)

    def body(
        self,
        request: Request,
        provider: str,
        message: Callable[[Message, Draft], dict[str, Any]],
    ) -> dict[str, Any]:
        """The body of a request named as OpenAI's; `message` builds each message.

        Raises UnsupportedParameter, or UsageError for the request's messages.
        """
        draft = Draft(request, provider)
        draft.body["model"] = request.model
        draft.body["messages"] = [message(one, draft) for one in request.messages]
        draft.body["stream"] = request.stream
        self.add(draft)
        return draft.body

    def _add_own(self, draft: Draft, name: str, value: Any) -> None:
        rule = self.own.get(name)
        if rule is None:
            self._merge(draft.body, name, value)
            return
        for path, converted in _fields(rule, value, draft):
            head, _, rest = path.partition(".")
            self._merge(draft.body, head, {rest: converted} if rest else converted)

    def _merge(self, body: dict[str, Any], name: str, value: Any) -> None:
        if isinstance(value, dict) and (self.merged is None or name in self.merged):
            old = body.get(name)
            value = merged(old if isinstance(old, dict) else {}, value)
        body[name] = value


def _fields(rule: Rule, value: Any, draft: Draft) -> Iterable[tuple[str, Any]]:
    return ((rule, value),) if isinstance(rule, str) else rule(value, draft).items()


def as_list(path: str) -> Convert:
    """A text or a list of texts, as a list at this path."""
    return lambda value, draft: {path: [value] if isinstance(value, str) else value}


def limits(rule: Rule) -> dict[str, Rule]:
    """The limit of an answer under either of its names, for an API that has another."""
    return dict.fromkeys(LIMITS, rule)


def limit_of(params: Mapping[str, Any]) -> Any:
    """The limit of an answer; -1 for none."""
    return next((params[name] for name in LIMITS if name in params), -1)


def unless(neutral: object, path: str) -> Convert:
    """The value at this path, but nothing where it is `neutral`, such as -1 for no limit."""
    return lambda value, draft: {} if value == neutral else {path: value}


def format_kind(value: Any, draft: Draft, *supported: str) -> str:
    """The type of a response_format: `text`, or one of those that the API supports.

    Raises UnsupportedParameter for another.
    """
    kind = value.get("type") if isinstance(value, dict) else value
    if kind != "text" and kind not in supported:
        hint = f"use {' or '.join(supported)}, not {kind!r}"
        raise draft.unsupported("response_format", hint)
    return str(kind)


def merged(into: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Both objects as one; objects inside are merged too, anything else of `more` wins."""
    result = dict(into)
    for name, value in more.items():
        old = result.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[name] = merged(old, value) if both and isinstance(old, dict) else value
    return result
