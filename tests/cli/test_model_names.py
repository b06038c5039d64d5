"""Lists of models on the command line: which comma is between names."""

import pytest

from llmbatch_cli.cli.model_names import split_names


@pytest.mark.parametrize(
    ("named", "names"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        (["a, b,,c"], ["a", "b", "c"]),
        (["a?temperature=0,b"], ["a?temperature=0", "b"]),
        (["a?temperature=0,b?top_p=0.5,c"], ["a?temperature=0", "b?top_p=0.5", "c"]),
        (["a?stop=x,y"], ["a?stop=x,y"]),
        (["a?stop=x,gpt-4o"], ["a?stop=x", "gpt-4o"]),
        (["a?stop=x,y,fake/echo?latency=1"], ["a?stop=x,y", "fake/echo?latency=1"]),
        (['a?logit_bias={"1":2,"3":4},b'], ['a?logit_bias={"1":2,"3":4}', "b"]),
        (['a?stop=["x","y"]&seed=1,b'], ['a?stop=["x","y"]&seed=1', "b"]),
        (["a?stop=%5B%22x%22%5D,b"], ["a?stop=%5B%22x%22%5D", "b"]),
        (["local/my,file.gguf"], ["local/my,file.gguf"]),
        (["local/smollm2,openai/gpt-4o"], ["local/smollm2", "openai/gpt-4o"]),
    ],
)
def test_names_are_split_at_the_commas_between_them(named: list[str], names: list[str]) -> None:
    """A comma inside a parameter's value, or a file's name, splits nothing."""
    assert split_names(named) == names
