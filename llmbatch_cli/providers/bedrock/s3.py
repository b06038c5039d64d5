"""Files in S3, as a job of Bedrock needs them: put, looked for, and read.

Sources (read 2026-11-26): docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html (5 GB in one
request), API_HeadObject.html (403 for what is not there, without s3:ListBucket),
/sig-v4-header-based-auth.html (the digest of the body; valid for 15 minutes), ErrorResponses.html;
/AmazonS3/latest/userguide/VirtualHosting.html (a bucket with dots only by its path); botocore
1.44.5 (auth.py; AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL).
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.providers.access import first_set
from llmbatch_cli.providers.addresses import is_exposed

EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9]{1,80})</Code>")
_MESSAGE: Final = re.compile(rb"<Message>([^<]{1,500})</Message>")
_REGION: Final = re.compile(rb"<Region>([a-z0-9-]{1,40})</Region>")
_AS_BEDROCK: Final = {
    "AccessDenied": "AccessDeniedException",
    "ExpiredToken": "ExpiredTokenException",
    "InvalidAccessKeyId": "UnrecognizedClientException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "SlowDown": "ThrottlingException",
}
STALE: Final = ("RequestTimeTooSkewed", "ExpiredToken", "RequestExpired")
"""Codes of a request that was signed too long ago."""


def endpoint_of(environ: Mapping[str, str], service: str) -> str | None:
    """Another address than Amazon's for S3 or BEDROCK, where AWS's own tools look for one.

    Raises UsageError where credentials could be read on the way.
    """
    found = first_set(environ, (f"AWS_ENDPOINT_URL_{service}", "AWS_ENDPOINT_URL"))
    if found is not None and is_exposed(found):
        raise UsageError(f"AWS credentials are not sent to {found}: it is plain http")
    return None if found is None else found.rstrip("/")


def url_of(uri: str, region: str, endpoint: str | None) -> str:
    """The address of s3://BUCKET/KEY."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    key = quote(key, safe="/-_.~")
    if endpoint is not None:
        return f"{endpoint}/{bucket}/{key}"
    host = f"s3.{region}.amazonaws.com"
    return f"https://{host}/{bucket}/{key}" if "." in bucket else f"https://{bucket}.{host}/{key}"


def code_in(reply: WireReply) -> str:
    """The name of the error in a reply; empty where it has none."""
    found = _CODE.search(reply.body)
    return "" if found is None else found[1].decode()


def as_bedrock(reply: WireReply) -> WireReply:
    """The error in the form of Bedrock's own, which its rules are for."""
    code, said = code_in(reply), _MESSAGE.search(reply.body)
    message = said[1].decode("utf-8", "replace") if said else f"HTTP {reply.status}"
    place = _REGION.search(reply.body)
    region = place[1].decode() if place else reply.headers.get("x-amz-bucket-region", "")
    if reply.status == 301 or code == "AuthorizationHeaderMalformed":
        message += f" (the bucket is in {region or 'another region'})"
    body = {"message": f"S3: {code or reply.status}: {message}"}
    headers = {name: text for name, text in reply.headers.items() if name == "retry-after"}
    if code in _AS_BEDROCK:
        headers["x-amzn-errortype"] = _AS_BEDROCK[code]
    status = 400 if 300 <= reply.status < 400 else reply.status
    return WireReply(status, headers, orjson.dumps(body))
