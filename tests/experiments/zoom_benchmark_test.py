"""The zoom suite compares equal work, and its figures are those of the sizes asked for."""

from experiments.benchmarks import zoom
from vigorl_jax.tasks.task import ZoomPreset


def test_both_sides_make_the_same_bytes_and_other_sizes_compile_nothing(monkeypatch):
    monkeypatch.setattr(zoom, "PRESETS", {"small": ZoomPreset(offset=20, side=56, dot=True)})
    sizes = zoom.ZoomBenchmark(
        width=400, height=300, zooms=5, repetitions=2, other_sizes=((300, 400), (390, 305))
    )
    figures = zoom.run(sizes)
    assert figures["sizes"]["zooms"] == 5
    small = figures["small"]
    assert small["bytes_equal"]
    assert small["programs_compiled"] > 0
    assert small["programs_compiled_for_other_sizes_and_windows"] == 0
    for kind in ("bytes", "floats"):
        ours, peer = small[kind]["ours"], small[kind]["pillow_and_numpy"]
        assert ours["ratio_to_first"] == 1
        assert peer["ratio_to_first"] > 0
