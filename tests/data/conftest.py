"""What the tests of this floor share."""

from collections.abc import Callable

import pytest

from src.compose import compose
from src.config import Config
from src.selection import parse


@pytest.fixture
def composed() -> Callable[..., Config]:
    """The project's configuration with Hydra-style overrides."""
    return lambda *overrides: compose(parse(overrides))
