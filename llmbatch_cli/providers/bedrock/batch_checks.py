"""What a job of Bedrock needs, checked before anything is sent."""

import re
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.providers.batch_storage import ROLE_VARIABLE, Storage

JOB: Final = re.compile(
    r"arn:aws(?:-[^:]+)?:bedrock:[a-z0-9-]+:([0-9]{12}):model-invocation-job/([a-z0-9]+)"
)
"""The ARN of a job: its account, and its id."""
_FOLDER: Final = re.compile(r"(?:[-!_*'().a-z0-9A-Z]+/)*")
_ROLE: Final = re.compile(r"arn:aws(?:-[^:]+)?:iam::([0-9]{12}):role/\S+")
_WITHOUT: Final = re.compile(
    r"arn:[^/]*:(?:provisioned-model|prompt|prompt-router|default-prompt-router|imported-model|"
    r"custom-model-deployment)/"
)


def check_model(model: str) -> None:
    """Raise UsageError for a model that has surely no batch inference."""
    if _WITHOUT.match(model):
        raise UsageError(
            f"Bedrock has no batch inference for {model}",
            hint="many foundation models, custom models and inference profiles have it: "
            "docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-supported.html",
        )


def folder_in(storage: Storage) -> str:
    """The folder for jobs, s3://BUCKET/FOLDER/. Raises UsageError."""
    bucket, folder = storage.place("s3", "bedrock")
    if "_" in bucket or not _FOLDER.fullmatch(folder):
        raise UsageError(
            f"Bedrock takes no such place in S3: s3://{bucket}/{folder}",
            hint="letters, digits and -!_*'(). stand in the names of its folders",
        )
    return f"s3://{bucket}/{folder}"


def check_role(storage: Storage) -> None:
    """Raise UsageError without a role."""
    wanted = f"--batch-role arn:aws:iam::ACCOUNT:role/NAME, or {ROLE_VARIABLE}"
    if storage.role is None:
        raise UsageError(
            "bedrock reads and writes the bucket by an IAM role, and none is named", hint=wanted
        )
    if not _ROLE.fullmatch(storage.role):
        raise UsageError(f"{storage.role[:100]!a} is no IAM role", hint=f"as in {wanted}")


def check_account(storage: Storage, job: str) -> None:
    """Raise UsageError for a job of another account, where it would seem to be lost."""
    role, found = _ROLE.fullmatch(storage.role or ""), JOB.fullmatch(job)
    if role and found and role[1] != found[1]:
        raise UsageError(
            f"the job is of the account {found[1]}, and the role of {role[1]}",
            hint="go on with the credentials and the role that the run had",
        )
