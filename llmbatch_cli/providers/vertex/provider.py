"""Gemini and Claude on Vertex AI, with the credentials that google-auth finds.

Sources (read 2026-11-22): docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/
inference, /partner-models/claude/use-claude, platform.claude.com/docs/en/build-with-claude/
claude-on-vertex-ai, and lib/vertex/_client.py of the Python SDK anthropic 2.12.0 (the hosts).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from llmbatch_cli.core.errors import OutOfQuota, ProviderError, UnknownModel, UsageError
from llmbatch_cli.core.events import Observer
from llmbatch_cli.core.near import install_hint
from llmbatch_cli.core.types import Completion, Request, Send, WireReply, WireRequest
from llmbatch_cli.providers.anthropic.provider import Anthropic
from llmbatch_cli.providers.base import Provider, Settings, Stream
from llmbatch_cli.providers.gemini.provider import Gemini
from llmbatch_cli.providers.wire.credentials import renewed
from llmbatch_cli.providers.wire.errors import ErrorBody
from llmbatch_cli.providers.wire.provider import JsonProvider

BASE_URL: Final = "https://aiplatform.googleapis.com/v1"
"""The global address; any other location has its own host."""

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
RENEW_BEFORE_S: Final = 300.0
RETRY_S: Final = 30.0


class _Held:
    """What both APIs need here: the project's path, and an access token."""

    prefix = ""
    _api_key: str | None
    _headers: dict[str, str]

    def hold(self, token: str | None) -> None:
        """Send this access token from now on."""
        self._api_key = token
        if token is not None:
            self._headers = {**self._headers, "authorization": f"Bearer {token}"}


class _Claude(_Held, Anthropic):
    """The Messages API as Vertex serves it: with the model in the URL."""

    google: JsonProvider

    def address(self, request: Request) -> str:
        method = "streamRawPredict" if request.stream else "rawPredict"
        model = quote(request.model, safe="@")
        return f"{self.base_url}/{self.prefix}/publishers/anthropic/models/{model}:{method}"

    def body(self, request: Request) -> dict[str, Any]:
        built = {"anthropic_version": "vertex-2023-10-16", **super().body(request)}
        del built["model"]
        return built

    def failed(self, error: ErrorBody, reply: WireReply, model: str) -> ProviderError:
        """Anthropic's error, or Google's where Google has answered itself."""
        # google.rpc.Status has a `status`, Anthropic's error objects have none.
        if "status" in error.fields:
            return self.google.failed(error, reply, model)
        return super().failed(error, reply, model)


class _Gemini(_Held, Gemini):
    """generateContent as Vertex serves it."""

    def url(self, request: Request) -> str:
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        model = quote(request.model, safe="@")
        return f"{self.base_url}/{self.prefix}/publishers/google/models/{model}:{method}"


class Vertex(Provider):
    """One project in one location. A key in the settings is an access token, used as it is."""

    def __init__(self, settings: Settings) -> None:
        environ = settings.environ
        self._project = environ.get("GOOGLE_CLOUD_PROJECT")
        self._location = environ.get("GOOGLE_CLOUD_LOCATION") or "global"
        keyless = replace(settings, api_key=None)
        self._claude = _Claude(keyless)
        self._gemini = self._claude.google = _Gemini(keyless)
        super().__init__(settings)
        self._hold(settings.api_key)

    def aim(self, base_url: str) -> None:
        """Send to this address; the provider's own becomes that of the location."""
        if base_url.rstrip("/") == BASE_URL:
            base_url = f"https://{_host(self._location)}/v1"
        super().aim(base_url)
        self._claude.aim(base_url)
        self._gemini.aim(base_url)

    def _hold(self, token: str | None) -> None:
        prefix = f"projects/{self._project}/locations/{self._location}"
        for inside in (self._claude, self._gemini):
            inside.hold(token)
            inside.prefix = prefix

    @asynccontextmanager
    async def serving(self, observe: Observer) -> AsyncIterator[Send | None]:
        """Hold an access token ready, renewed before it ends.

        Raises UsageError where google-auth, credentials or the project are missing, and where
        no credentials may go.
        """
        if self._api_key is not None:
            self._check_project()
            yield None
            return
        self.check_credentials_may_go()
        credentials, project = await asyncio.to_thread(_credentials)
        self._project = self._project or project

        def renew() -> None:
            self._hold(_token(credentials))

        async with renewed(renew, lambda: renewal_s(credentials.expiry, datetime.now(UTC))):
            self._check_project()
            yield None

    def _check_project(self) -> None:
        if self._project is None:
            raise UsageError(f"no project for {self.name}", hint="set GOOGLE_CLOUD_PROJECT")

    def build(self, request: Request) -> WireRequest:
        inside, request = self._inside(request)
        return inside.build(request)

    def parse(self, request: Request, reply: WireReply) -> Completion:
        inside, request = self._inside(request)
        try:
            return inside.parse(request, reply)
        except UnknownModel as error:
            error.hint = "Model Garden lists the project's models and their locations"
            raise
        except OutOfQuota as error:
            error.hint = "the project's quotas and billing are in the Google Cloud console"
            raise

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        inside, request = self._inside(request)
        return inside.stream(request, headers)

    def _inside(self, request: Request) -> tuple[Provider, Request]:
        """The API that this model has; its publisher may be in front of its name."""
        publisher, slash, name = request.model.removeprefix("publishers/").partition("/")
        name = name.removeprefix("models/") if slash else request.model
        publisher = publisher if slash else ""
        if publisher == "anthropic" or (not slash and name.startswith("claude")):
            return self._claude, replace(request, model=name)
        if publisher in ("", "google"):
            return self._gemini, replace(request, model=name)
        raise UsageError(
            f"{self.name} supports the models of google and anthropic here, not of {publisher}",
            hint="use its OpenAI-compatible endpoint for others, with --base-url",
        )


def _host(location: str) -> str:
    if location == "global":
        return "aiplatform.googleapis.com"
    if location in ("us", "eu"):
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"


def renewal_s(expiry: datetime | None, now: datetime) -> float:
    """Seconds until a token that ends at `expiry`, a moment in UTC, is to be renewed."""
    if expiry is None:
        return RETRY_S
    ends = expiry if expiry.tzinfo is not None else expiry.replace(tzinfo=UTC)
    return max(RETRY_S, (ends - now).total_seconds() - RENEW_BEFORE_S)


def _credentials() -> tuple[Any, str | None]:
    """Google's default credentials and their project. May ask the network."""
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
    except ImportError as error:
        raise UsageError(
            f"vertex needs google-auth: {error}", hint=install_hint("vertex")
        ) from error
    try:
        credentials, project = google.auth.default(scopes=[SCOPE])
    except GoogleAuthError as error:
        raise UsageError(
            f"no Google credentials: {error}",
            hint="run `gcloud auth application-default login`, "
            "or set GOOGLE_APPLICATION_CREDENTIALS",
        ) from error
    return credentials, project


def _token(credentials: Any) -> str:
    """A fresh access token. Asks the network. Raises UsageError where it gives none."""
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request as Transport

    try:
        credentials.refresh(Transport())
    except GoogleAuthError as error:
        raise UsageError(f"no access token from Google: {error}") from error
    return str(credentials.token)
