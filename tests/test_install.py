import pytest

from src.install import STAMP, install


def test_an_install_that_fails_says_what_to_do_and_is_not_taken_for_done(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "requirements.txt").write_text("a-package-that-is-nowhere==1\n", encoding="utf-8")
    (tmp_path / STAMP).touch()
    with pytest.raises(SystemExit) as ended:
        install(tmp_path, tmp_path)
    assert ended.value.code == 1
    said = capfd.readouterr().err
    assert said.index("ERROR: ") < said.index("the install is not complete: pip's reason stands above")
    assert "mend it and run make requirements again" in said
    assert not (tmp_path / STAMP).exists()
