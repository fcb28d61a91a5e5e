"""The machine for all three mechanisms has the components of the machines for one."""

from __future__ import annotations

import pytest

import isa

E2E = isa.load_machine("e2e-pim")


def test_it_is_the_near_bank_machine_with_more() -> None:
    assert E2E.near_bank == isa.load_machine("gddr6-aim").near_bank
    assert E2E.extensions == ("I", "B", "K", "X", "C")


def test_its_crossbars_are_those_of_retransformer() -> None:
    other = isa.load_machine("reram-retransformer")
    own, published = E2E.crossbar, other.crossbar
    assert own is not None
    assert published is not None
    for name in type(own).model_fields:
        if name.endswith("_cycles"):
            time, wanted = (
                getattr(part, name) * machine.clock_ns for part, machine in ((own, E2E), (published, other))
            )
            assert wanted <= time < wanted + E2E.clock_ns
        else:
            assert getattr(own, name) == getattr(published, name)


def test_its_associative_memory_is_that_of_camformer() -> None:
    other = isa.load_machine("cam-camformer")
    own, published = E2E.cam, other.cam
    assert own is not None
    assert published is not None
    for name in type(own.modules).model_fields:
        module, wanted = getattr(own.modules, name), getattr(published.modules, name)
        assert module.use_pj == pytest.approx(wanted.use_pj)
        assert module.cycles * E2E.clock_ns == wanted.cycles * other.clock_ns
        heads = own.keys // 1024 if name == "key_memory" else 1
        assert module.area_um2 == pytest.approx(wanted.area_um2 * heads)
    sizes = {"modules", "keys", "values"}
    assert own.model_dump(exclude=sizes) == published.model_dump(exclude=sizes)
