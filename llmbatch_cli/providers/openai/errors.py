"""What errors mean on OpenAI's wire, and on the many that follow it with codes of their own.

Sources (read 2026-11-22): developers.openai.com/api/docs/guides/error-codes, help.openai.com
article 6614457 (billing codes). A host's own codes stand in its row of hosts.py.
"""

from typing import Final

from llmbatch_cli.core import errors
from llmbatch_cli.providers.wire.errors import by_code

ERROR_CODES: Final = by_code(
    {
        errors.OutOfQuota: "insufficient_quota credit_balance_exhausted billing_hard_limit_reached "
        "organization_spend_limit_exceeded organization_usage_limit_exceeded "
        "project_spend_limit_exceeded billing_not_active",
        errors.Unauthorized: "invalid_api_key unsupported_country_region_territory",
        errors.RateLimited: "rate_limit_exceeded rate_limit_error slow_down",
        errors.Overloaded: "server_is_overloaded server_error service_unavailable_error",
        errors.ContextLength: "context_length_exceeded string_above_max_length "
        "exceed_context_size_error",
        errors.UnknownModel: "model_not_found",
        errors.Refused: "content_filter content_policy_violation invalid_prompt",
    }
)
"""`error.code` or `error.type` where it is more specific than the status."""
