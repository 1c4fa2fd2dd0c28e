import pytest

from src.visualization.labels import duration, shortened, width, wilson_interval


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


def test_wilson_interval_equals_the_published_example():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263
    low, high = wilson_interval(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_wilson_interval_stays_inside_zero_and_one():
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)
    assert wilson_interval(0.0, 10)[0] == pytest.approx(0.0)
    assert max(wilson_interval(1.0, 3)) <= 1.0
