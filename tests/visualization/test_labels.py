import pytest

from src.visualization.labels import duration, shortened, width


def test_long_names_keep_both_ends_and_fit():
    name = "north_american_black_bear_with_cub"
    short = shortened(name, 15)
    assert len(short) == 15
    assert name.startswith(short.split("…")[0])
    assert name.endswith(short.split("…")[1])


def test_wide_characters_take_the_room_of_two():
    assert shortened("ひ" * 8, 16) == "ひ" * 8
    assert 14 <= width(shortened("ひ" * 40, 16)) <= 16


def test_names_with_line_breaks_stay_on_one_line():
    assert shortened("two\nlines\tand tabs") == "two lines and tabs"


@pytest.mark.parametrize(("seconds", "shown"), [(8.44, "8.4 s"), (125, "2 min 5 s"), (12000, "3 h 20 min")])
def test_durations_are_shown_in_the_units_of_their_size(seconds, shown):
    assert duration(seconds) == shown
