"""Drivers: many rows to their outcomes. `live` asks for each row as it comes."""

from collections.abc import AsyncGenerator, Callable
from typing import TypeAlias

from llmbatch_cli.core.types import Outcome, Row
from llmbatch_cli.engine.run import Stop

Driver: TypeAlias = Callable[[AsyncGenerator[Row, None], Stop], AsyncGenerator[Outcome, None]]
"""Rows to outcomes, one or more for each row. It pulls rows as it can use them, and closes them.

Raises RunStopped where no further row can succeed. Closing the generator drops what is at work.
"""
