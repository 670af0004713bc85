import pathlib

import pytest

from star_jax.config import methods, validation
from tests.config.configs_test import ROOT, load


@pytest.mark.parametrize("method", methods.METHODS)
def test_a_method_is_valid_settings(method: str):
    config = validation.defaults()
    methods.apply(config, method)
    chosen = validation.to_dict(validation.from_config(config))
    for section, values in methods.METHODS[method].items():
        assert {name: chosen[section][name] for name in values} == values


@pytest.mark.parametrize("method", methods.METHODS)
@pytest.mark.parametrize("model", ["", "smollm2,"])
def test_a_method_of_either_model_on_gsm8k(model: str, method: str):
    module = load(ROOT / "configs" / "gsm8k.py")
    chosen = validation.from_config(module.get_config(model + method))
    assert chosen.sampler.samples == methods.METHODS[method]["sampler"]["samples"]
    assert ("gpt-j" in chosen.model.source) == (not model)
    with pytest.raises(ValueError, match="the variants are"):
        module.get_config(f"{method},gpt_k")


def test_the_table_says_what_the_settings_are():
    """Each value of `METHODS` stands in its method's column of the module's table."""
    rows = [line.split("|")[1:-1] for line in (methods.__doc__ or "").splitlines() if "|" in line]
    table = {cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]] for cells in rows}
    for column, method in enumerate(methods.METHODS, 1):
        for section, values in methods.METHODS[method].items():
            for name, value in values.items():
                path = f"{section}.{name}"
                if path in table:
                    said = {"yes": True, "no": False}.get(table[path][column], table[path][column])
                    assert str(said) == str(value), (method, path)


def test_docs_name_every_method():
    docs = (pathlib.Path(ROOT) / "docs" / "methods.md").read_text()
    assert all(f":{method}" in docs for method in methods.METHODS)
