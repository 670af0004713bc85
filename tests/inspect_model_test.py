import runpy
import sys

import pytest


def test_the_command_explains_itself(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["inspect_model", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("star_jax.inspect_model", run_name="__main__")
    assert ended.value.code == 0
    assert "usage: python -m star_jax.inspect_model" in capsys.readouterr().out
