"""The options of what answers cost."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.option import option

Tier = Literal["flex", "priority"]


@frozen(kw_only=True)
class Money:
    """What answers cost."""

    section: ClassVar[str] = "Money"

    price: Sequence[str] = option(
        (),
        "Price of a model, in US dollars a million tokens of input and of output; * in MODEL "
        "stands for anything. Repeatable.",
        metavar="MODEL=IN,OUT",
    )
    tier: Tier | None = option(
        None,
        "Buy slower answers for less (flex), or faster ones for more, where the provider sells "
        "them.",
    )
