"""What the package exports, so that it cannot grow by accident."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import llmbatch_cli
from llmbatch_cli.compat import exceptions
from llmbatch_cli.core.errors import LlmbatchError

EXPORTED = """
APIConnectionError APIError Answers AuthenticationError BadGatewayError BadRequestError
BudgetExceededError BudgetReached Cache Client Completion ContentPolicyViolationError
ContextWindowExceededError
Failure InternalServerError Limits LlmbatchError ModelResponse Money Network NotFoundError
OpenAIError Outcome PaymentRequiredError PermissionDeniedError RateLimitError Retries RowFailed
Rules RunStopped ServiceUnavailableError Timeout UnprocessableEntityError UnsupportedParamsError
Usage UsageError
abatch_completion abatch_completion_models abatch_completion_models_all_responses acompletion
batch batch_completion batch_completion_models batch_completion_models_all_responses completion
race
"""


def test_the_exported_names_are_these() -> None:
    """No more and no fewer, in `__all__`, in `dir()` and beside each other."""
    assert sorted(llmbatch_cli.__all__) == EXPORTED.split()
    assert dir(llmbatch_cli) == sorted([*EXPORTED.split(), "__version__"])


@pytest.mark.parametrize("name", EXPORTED.split())
def test_every_exported_name_is_there_and_says_what_it_is(name: str) -> None:
    """Each can be imported, bears its own name, and has a docstring."""
    found = getattr(llmbatch_cli, name)
    assert found.__name__ == name
    assert inspect.getdoc(found)


def test_every_exception_of_the_table_is_exported() -> None:
    """What a call can raise can be caught by name."""
    kinds = [
        name
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type)
        and issubclass(kind, LlmbatchError)
        and kind.__module__ == exceptions.__name__
    ]
    assert set(kinds) <= set(llmbatch_cli.__all__)


@pytest.mark.parametrize("name", ["embedding", "import_module"])
def test_another_name_is_an_attribute_error(name: str) -> None:
    """As with any module; what litellm has beyond this is not pretended."""
    with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
        getattr(llmbatch_cli, name)


def test_the_types_are_those_of_the_exported_names() -> None:
    """Type checkers see the same names, each from the module that it comes from."""
    tree = ast.parse(Path(llmbatch_cli.__file__).read_text())
    (for_types,) = (node for node in tree.body if isinstance(node, ast.If) and not node.orelse
                    and ast.unparse(node.test) == "TYPE_CHECKING")  # fmt: skip
    homes = {
        alias.asname: node.module
        for node in for_types.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name  # which makes it public to type checkers
    }
    assert homes == {name: getattr(llmbatch_cli, name).__module__ for name in llmbatch_cli.__all__}


def test_importing_the_package_loads_nothing() -> None:
    """No module beyond the interpreter's own, until a name is used."""
    program = (
        "import sys; before = set(sys.modules); import llmbatch_cli; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == ["llmbatch_cli"]
