"""What setup.py asks the package index for."""

import runpy
import sys
import types
from typing import Any

import pytest
from packaging.requirements import Requirement

import fakes
import interpreters

JAXES = {"3.11": "0.10.2", "3.12": "0.12.0.1", "3.13": "0.12.0.1"}
FLAXES = {"3.11": "0.12.8", "3.12": "0.12.12", "3.13": "0.12.12"}
ANYWHERE = {"platform_system": "Linux", "platform_machine": "x86_64"}


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    """What setup.py gives setuptools, which need not be installed."""
    told: dict[str, Any] = {}
    fake: Any = types.ModuleType("setuptools")
    fake.setup, fake.find_packages = told.update, lambda **_: ["star_jax"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "setuptools", fake)
        runpy.run_path(str(fakes.ROOT / "setup.py"))
    return told


def asked(requirements: list[str], python: str, name: str) -> list[Requirement]:
    """What is asked of a package on a version of Python."""
    found = [Requirement(one) for one in requirements]
    place = ANYWHERE | {"python_version": python, "extra": ""}
    return [r for r in found if r.name == name and (not r.marker or r.marker.evaluate(place))]


@pytest.mark.parametrize("python", JAXES)
@pytest.mark.parametrize(("name", "newest"), [("jax", JAXES), ("flax", FLAXES)])
def test_the_versions_that_the_suite_has_passed_with_are_allowed(given, python, name, newest):
    (requirement,) = asked(given["install_requires"], python, name)
    assert requirement.specifier.contains(newest[python])
    assert not requirement.specifier.contains("0.13.0")


def test_a_flax_that_breaks_with_a_newer_jax_is_not_taken_with_it(given):
    for python, allowed in {"3.11": True, "3.12": False, "3.13": False}.items():
        (requirement,) = asked(given["install_requires"], python, "flax")
        assert requirement.specifier.contains("0.12.8") is allowed


def test_the_pythons_are_those_that_are_tested(given):
    listed = [line.rpartition(" ")[2] for line in given["classifiers"]]
    assert listed == sorted(interpreters.SUPPORTED, key=lambda v: int(v.partition(".")[2]))
    assert given["python_requires"] == f">={listed[0]}"


def test_a_library_for_devices_comes_by_jax_itself_which_knows_the_version(given):
    extras = {
        name: {str(r) for r in map(Requirement, all_)}
        for name, all_ in given["extras_require"].items()
    }
    for name, jax in {"gpu": "jax[cuda12]", "gpu13": "jax[cuda13]", "tpu": "jax[tpu]"}.items():
        assert extras[name] == {jax}
    for name in ("second", "test"):
        libraries = {r.partition(";")[0].strip() for r in extras[name]}
        assert "jax[tpu]" in libraries and not any(r.startswith("libtpu") for r in libraries)


def test_the_second_environment_has_no_torch(given):
    extras = given["extras_require"]
    names = {kind: {Requirement(one).name for one in extras[kind]} for kind in ("second", "test")}
    assert names["second"] < names["test"]
    assert names["second"].isdisjoint({"torch", "accelerate"}) and "torch" in names["test"]
