import os
import platform

import jax

from vigorl_jax.report import machine


def test_the_processor_is_named_as_linux_names_it(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Fast: 3 GHz\nprocessor\t: 1\nmodel name\t: Fast: 3 GHz\n")
    monkeypatch.setattr(machine, "_CPU_INFO", info)
    found = machine.describe("pytest")
    assert found["processor"] == "Fast: 3 GHz"
    assert (found["jax"], found["device"]) == (jax.__version__, jax.devices()[0].device_kind)
    assert "pytest" in found


def test_other_systems_say_what_they_know(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CPU_INFO", tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    found = machine.describe()
    assert found["processor"] == (platform.processor() or platform.machine())
    assert found["cores"] == os.cpu_count()
