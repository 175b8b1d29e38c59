"""Validators of settings, which hold for settings made in Python too."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from bridge.errors import ConfigurationError
from bridge.settings.wording import shown


def between(low: float, high: float = math.inf) -> Callable[[object, object, float], None]:
    """Return a validator of a range; both ends belong to it."""
    expected = f"of at least {low}" if high == math.inf else f"from {low} to {high}"

    def check(_instance: object, _attribute: object, value: float) -> None:
        if not low <= value <= high:
            raise ConfigurationError(f"expected a number {expected}, found {shown(value)}")

    return check


def matching(pattern: re.Pattern[str], expected: str) -> Callable[[object, object, str], None]:
    """Return a validator of a string's form."""

    def check(_instance: object, _attribute: object, value: str) -> None:
        if not pattern.fullmatch(value):
            raise ConfigurationError(f"expected {expected}, found {shown(value)}")

    return check
