"""Objects of a bucket as a storage, with a simulated S3."""

import io
import os
import sys
import time
from pathlib import Path

import obstore
import pytest
from support.moto import KEY, SECRET, Bucket

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.storage import Storage, StorageError, located, storage_at
from llmbatch_cli.storage import upload as uploads
from llmbatch_cli.storage.address import parsed
from llmbatch_cli.storage.aws import s3_settings
from llmbatch_cli.storage.faults import told

MIB = 2**20


@pytest.fixture
def storage(bucket: Bucket) -> Storage:
    return storage_at(f"{bucket.address}/some/prefix")


def test_what_is_missing_is_told_apart(storage: Storage) -> None:
    """A missing object has no entry, cannot be read, and can be deleted."""
    assert storage.entry("a") is None
    with pytest.raises(FileNotFoundError, match="no such object"):
        storage.read("a")
    storage.delete("a")


def test_marks_of_folders_are_no_objects(storage: Storage, bucket: Bucket) -> None:
    """The empty objects that consoles make for folders are left out."""
    storage.put("sub/rows", b"1")
    for name in ("/some/prefix/", "/some/prefix/sub/"):
        bucket.request("PUT", name)
    assert [entry.name for entry in storage.list()] == ["sub/rows"]


def test_an_object_of_any_size_appears_whole_or_not_at_all(
    storage: Storage, bucket: Bucket
) -> None:
    """While it is written, and after an error, the old one is there, and no part stays behind."""
    storage.put("out", b"old")
    piece = os.urandom(MIB)
    with pytest.raises(RuntimeError), storage.writer("out") as file:
        for _ in range(40):
            file.write(piece)
        raise RuntimeError
    assert storage.read("out") == b"old"
    with storage.writer("out") as file:
        for _ in range(40):
            file.write(piece)
    assert storage.read("out") == piece * 40
    assert b"<Upload>" not in bucket.request("GET", "?uploads")


def test_a_small_object_is_written_by_one_request(storage: Storage) -> None:
    """Also an empty one, which has no parts."""
    with storage.writer("empty"):
        pass
    with storage.writer("small") as file:
        file.write(b"one ")
        file.write(b"two")
    assert storage.read("empty") == b""
    assert storage.read("small") == b"one two"


def test_an_upload_that_fails_says_so_in_the_body(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer is not left waiting for a store that has refused."""

    def put(*_: object, **__: object) -> None:
        raise obstore.exceptions.PermissionDeniedError("<Code>AccessDenied</Code>")

    monkeypatch.setattr(obstore, "put", put)
    with pytest.raises(StorageError, match="access denied"), storage.writer("out") as file:
        while True:
            file.write(bytes(uploads.PART_BYTES))


def test_a_file_can_seek(storage: Storage) -> None:
    """Pieces are read where they are asked for."""
    data = os.urandom(3 * MIB)
    storage.put("a", data)
    with io.BufferedReader(storage.open("a")) as file:
        file.seek(-4, io.SEEK_END)
        assert file.read() == data[-4:]
        file.seek(MIB)
        assert file.read(MIB + 5) == data[MIB : 2 * MIB + 5]
        file.seek(0)
        assert file.read() == data


def test_another_version_is_refused(storage: Storage) -> None:
    """An object that changes while it is read is not read on as if it were the same."""
    storage.put("a", bytes(3 * MIB))
    entry = storage.entry("a")
    assert entry is not None
    with storage.open("a", entry.version) as file:
        assert file.read(1) == b"\0"
        storage.put("a", b"1" * 3 * MIB)
        with pytest.raises(StorageError, match="it has changed since it was first read"):
            while file.read(MIB):
                pass


def test_a_missing_bucket_is_named(bucket: Bucket) -> None:
    """It is told apart from an empty one and a missing object."""
    storage = storage_at("s3://no-such-bucket/in")
    with pytest.raises(StorageError, match="no such bucket"):
        [*storage.list()]
    with pytest.raises(StorageError, match="no such bucket"):
        storage.put("a", b"")


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("SignatureDoesNotMatch", 403, "the credentials are refused"),
        ("ExpiredToken", 400, "the credentials have expired"),
        ("PermanentRedirect", 301, "the bucket is in another region"),
        ("Teapot", 418, "the store has failed: Teapot"),
    ],
)
def test_a_refusal_is_told_without_secrets(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, code: str, status: int, words: str
) -> None:
    """Of what the store says its code is taken, not the signature that it repeats."""
    from support.refusing import refusing

    with refusing(status, f"<Error><Code>{code}</Code><Sig>{SECRET}</Sig></Error>") as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(StorageError) as caught:
            storage_at("s3://bucket/in").read("a")
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_address_is_a_prefix_and_a_name(bucket: Bucket) -> None:
    """Also at the top of a bucket."""
    storage, name = located("s3://bucket/a/rows.jsonl")
    assert (storage.address, name) == ("s3://bucket/a", "rows.jsonl")
    storage, name = located("S3A://bucket/rows.jsonl")
    assert (storage.address, name) == ("s3://bucket", "rows.jsonl")


@pytest.mark.parametrize(
    "address", ["s3://", "s3:///rows", "gs://a b/c", "s3://b/a//c", "az://b/.."]
)
def test_a_bad_address_is_refused(address: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(UsageError):
        storage_at(address)


def test_other_stores_are_made_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's and Azure's addresses lead to their stores."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    assert storage_at("gs://bucket/in").address == "gs://bucket/in"
    assert storage_at("az://container/in").address == "az://container/in"


def test_an_azure_address_needs_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is said."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(UsageError, match="no storage account") as caught:
        storage_at("az://container/in")
    assert "AZURE_STORAGE_ACCOUNT_NAME" in (caught.value.hint or "")


def test_a_system_without_certificates_is_served(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a small container: those that come with this program are trusted then."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    storage_at(bucket.address).put("a", b"1")
    assert bucket.get("a") == b"1"


def test_certificates_that_cannot_be_read_are_named(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable that names them."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    with pytest.raises(UsageError, match="AWS_CA_BUNDLE names /nowhere"):
        storage_at(bucket.address)


def test_keys_of_a_profile_are_used(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of ~/.aws, with the region of the same profile, where the environment has none."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text("[profile work]\nregion = eu-central-1\n")
    (tmp_path / "credentials").write_text(
        f"[work]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "work")
    settings = s3_settings(os.environ, parsed(bucket.address))
    assert settings["region"] == "eu-central-1"
    assert (settings["access_key_id"], settings["secret_access_key"]) == (KEY, SECRET)
    storage_at(bucket.address).put("a", b"1")
    monkeypatch.setenv("AWS_PROFILE", "other")
    with pytest.raises(UsageError, match="there is no AWS profile other"):
        storage_at(bucket.address)


def test_a_missing_library_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that has it."""
    monkeypatch.setenv("AWS_TEST", "another store than those that were made before")
    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
    with pytest.raises(UsageError, match="needs a library that is not installed") as caught:
        storage_at(bucket.address)
    assert "[cloud]" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Invalid Access Key: Invalid symbol 32", "the credentials are refused"),
        ("Unable to open service account file from /x", "the file of credentials is unusable"),
        ("GET http://metadata/computeMetadata/v1/instance: dns error", "there are no credentials"),
        ("error sending request: dns error", "the store's name is not known"),
        ("operation timed out", "the store does not answer"),
        ("Received redirect without LOCATION, this normally indicates an incorrectly configured "
         "region", "the bucket is in another region"),
        (f"GET https://a.example/?sig={SECRET} in 1 s", "no connection, or no whole reply"),
    ],
)  # fmt: skip
def test_what_the_library_says_is_told_in_our_words(said: str, words: str) -> None:
    """Nothing of an address is repeated, which may hold a key."""
    found = told(obstore.exceptions.GenericError(said), "az://container/in")
    assert words in str(found)
    assert SECRET not in str(found)


def test_what_is_directly_in_a_folder(storage: Storage, bucket: Bucket) -> None:
    """Folders end with a slash; their marks, and that of the folder itself, are no files."""
    assert [*storage.children()] == []
    for name in ("b/1", "b/c/2", "a", "b.x/3"):
        storage.put(name, name.encode())
    for name in ("/some/prefix/", "/some/prefix/b/"):
        bucket.request("PUT", name)
    assert [(one.name, one.size) for one in storage.children()] == [
        ("a", 1),
        ("b.x/", 0),
        ("b/", 0),
    ]
    assert [one.name for one in storage.children("b/")] == ["1", "c/"]
    assert [*storage.children("no")] == []
    assert abs(storage.children()[0].modified - time.time()) < 60


def test_many_are_deleted_at_once(storage: Storage) -> None:
    """Those that are not there are no fault."""
    names = [f"b/{number}" for number in range(30)]
    for name in names[:-1]:
        storage.put(name, b"1")
    storage.put("a", b"1")
    storage.delete(*names)
    storage.delete()
    assert [one.name for one in storage.list()] == ["a"]
