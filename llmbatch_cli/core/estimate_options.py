"""The options of what a run would cost."""

from typing import ClassVar

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.option import option
from llmbatch_cli.core.options import DisplayOptions


@frozen(kw_only=True)
class EstimateOptions:
    """How the cost of a run is estimated, and shown."""

    section: ClassVar[str] = "Money"

    expect_output: int | None = option(
        None,
        "Tokens of an answer, as you expect them.",
        min=0,
        metavar="N",
        shown="256, from 64 to max_tokens or 1,024",
        everyday=True,
    )
    json: bool = option(False, "Print one JSON object.", everyday=True)


@frozen(kw_only=True)
class EstimateAndDisplay:
    """A group of groups."""

    estimate: EstimateOptions = EstimateOptions()
    display: DisplayOptions = DisplayOptions()
