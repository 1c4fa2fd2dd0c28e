"""Numbers and names in sentences."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """The number with its noun in the right form: `1 image`, `1,797 images`, `2 classes`, `3 copies`."""
    return f"{number:,} {noun if number == 1 else _plural(noun)}"


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 in percent; 100 only where nothing is missing."""
    rounded = round(100 * share, digits)
    if rounded >= 100 > 100 * share:
        rounded = 100 - 10.0**-digits
    return f"{rounded:.{digits}f} %"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names in a row, and how many more there are: `a`, `a and b`, `a, b and 7 more`."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most:,} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
