"""Words for verbs that take runs by name."""

import sys

import pytest

from src.arguments import run_on_runs, settings_of


def test_settings_are_told_from_runs():
    words = ["models/runs/a", "compare.split=val", "b=c/d", "champion", "odd name", "run.device=cpu"]
    assert settings_of(words) == ["compare.split=val", "b=c/d", "run.device=cpu"]


def test_words_come_from_make_where_the_command_line_has_none(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "argv", ["verb"])
    monkeypatch.setenv("PIPELINE_ARGS", "first 'second run' compare.split=val")
    run_on_runs(lambda cfg, words: told.append((words, cfg.compare.split)), about="")
    assert told == [(["first", "second run"], "val")]


def test_a_flag_is_refused_and_help_is_given(monkeypatch, caplog, capsys):
    monkeypatch.setattr(sys, "argv", ["verb", "a", "--force"])
    with pytest.raises(SystemExit) as ended:
        run_on_runs(lambda cfg, words: None, about="what it does")
    assert ended.value.code == 2
    assert "unknown flags --force; give runs by name or folder, and settings as key=value" in caplog.text
    monkeypatch.setattr(sys, "argv", ["verb", "--help"])
    run_on_runs(lambda cfg, words: None, about="what it does")
    assert capsys.readouterr().out == "what it does\n"
