from src.clean import clean


def test_caches_go_and_work_stays(tmp_path):
    gone = [
        ".coverage",
        ".coverage.host.1",
        ".mypy_cache/a",
        "build/lib/a",
        "docs/_build/html/a",
        "a.egg-info/PKG-INFO",
    ]
    gone += ["src/__pycache__/a.pyc", "src/models/__pycache__/b.pyc", "tests/models/__pycache__/c.pyc"]
    stay = [".venv/lib/a.py", "data/raw/source/a", "models/pipeline/train/a", "reports/pipeline/index.html", "src/a.py"]
    stay += [".venv/lib/__pycache__/a.pyc", "params.yaml", "dvc.lock", ".dvc/cache/a", ".env"]
    for name in gone + stay:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    clean(tmp_path)
    assert [name for name in gone if (tmp_path / name).exists()] == []
    assert [name for name in stay if not (tmp_path / name).exists()] == []
    assert clean(tmp_path) == []
