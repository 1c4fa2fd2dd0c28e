"""Names and numbers as readers see them."""

from unicodedata import east_asian_width

MOST_CHARACTERS = 22


def width(text: str) -> int:
    """Room the text takes, in Latin characters: wide ones, such as Chinese, count twice."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def shortened(name: str, most: int = MOST_CHARACTERS) -> str:
    """The name on one line, its middle left out where it is wider than `most` Latin characters."""
    line = " ".join(name.split())
    if width(line) <= most:
        return line
    room = (most - 1) * len(line) // width(line)
    head = room * 2 // 3
    return f"{line[:head]}…{line[len(line) - (room - head) :]}"


def duration(seconds: float) -> str:
    """Seconds as `8.4 s`, `2 min 5 s` or `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
