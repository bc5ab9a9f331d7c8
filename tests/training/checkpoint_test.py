"""Checkpoints: exact, placed on any mesh, undisturbed by donation, refused where they do not fit, and never lost."""

import dataclasses
import functools
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vigorl_jax.qwen25vl.sharding import make_mesh
from vigorl_jax.training.checkpoint import (
    CheckpointError,
    Checkpoints,
    Retention,
    Snapshot,
    config_differences,
)

CONFIG = {"seed": 3, "num_steps": 10, "optimiser": {"b1": 0.9, "decay": [1, 2]}}
OPTIMISER = optax.adamw(1e-3)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    params: dict
    frozen: dict
    opt_state: tuple
    step: jax.Array


def make_state(value: float = 0.0) -> State:
    params = {"layers": {"0": jnp.full((8, 16), value), "1": jnp.full((16,), value, jnp.bfloat16)}}
    return State(params, {}, OPTIMISER.init(params), jnp.int32(7))


def save(directory: pathlib.Path, *snapshots: Snapshot, **options) -> None:
    with Checkpoints(directory, CONFIG, **options) as checkpoints:
        for snapshot in snapshots:
            checkpoints.save(snapshot)


def test_everything_comes_back_as_it_was(tmp_path):
    """Structure of optax, bits, dtypes, the position as bytes, counters, and arrays in flight."""
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), make_state())
    buffer = {"tokens": np.arange(5), "pixels": np.frombuffer(b"\x00\xffpng", np.uint8), "none": np.zeros(0)}
    save(tmp_path, Snapshot(4, state, b"\x00grain\xff", {"bad": {"seen": 9, "names": ["a"]}}, buffer))
    with Checkpoints(tmp_path, CONFIG) as checkpoints:
        found = checkpoints.restore(make_state())
    assert (found.step, found.position) == (4, b"\x00grain\xff")
    assert found.counters == {"bad": {"seen": 9, "names": ["a"]}}
    assert jax.tree.structure(found.state) == jax.tree.structure(state)
    for ours, theirs in zip(jax.tree.leaves(found.state), jax.tree.leaves(state), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()
    assert found.buffer["tokens"].tolist() == [0, 1, 2, 3, 4]
    assert found.buffer["pixels"].tobytes() == b"\x00\xffpng"
    assert found.buffer["none"].shape == (0,)


def test_a_position_may_be_json_and_an_empty_directory_holds_nothing(tmp_path):
    with Checkpoints(tmp_path, CONFIG) as checkpoints:
        assert checkpoints.restore(make_state()) is None
        checkpoints.save(Snapshot(1, make_state(), {"epoch": 2, "next": [3]}))
        checkpoints.wait()
        assert checkpoints.restore(make_state()).position == {"epoch": 2, "next": [3]}


def test_updates_that_donate_the_state_do_not_reach_what_is_being_written(tmp_path):
    """Each update overwrites the donated arrays while the save before it is still on its way."""

    @functools.partial(jax.jit, donate_argnums=0)
    def add_one(state):
        return jax.tree.map(lambda leaf: leaf + 1, state)

    state = {"w": jnp.zeros((1024, 1024))}
    with Checkpoints(tmp_path, CONFIG, retention=Retention(last=9)) as checkpoints:
        for step in range(4):
            checkpoints.save(Snapshot(step, state))
            for _ in range(10):
                state = add_one(state)
    for step in range(4):
        with Checkpoints(tmp_path, CONFIG, retention=Retention(last=9)) as checkpoints:
            found = checkpoints.restore({"w": jnp.zeros((1024, 1024))})
            assert found.step == 3 - step
            assert np.unique(found.state["w"]).tolist() == [10.0 * found.step]
            shutil.rmtree(tmp_path / str(found.step))


def test_a_state_goes_from_one_mesh_to_another(tmp_path):
    def template(mesh, *spec):
        placed = NamedSharding(mesh, PartitionSpec(*spec))
        return {"w": jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=placed)}

    values = np.arange(128, dtype=np.float32).reshape(8, 16)
    old = template(make_mesh(1, 8, 1), "fsdp")["w"].sharding
    save(tmp_path, Snapshot(1, {"w": jax.device_put(values, old)}))
    new = template(make_mesh(1, 2, 4), "fsdp", "tensor")
    with Checkpoints(tmp_path, CONFIG) as checkpoints:
        placed = checkpoints.restore(new).state["w"]
        whole = checkpoints.restore({"w": jnp.zeros((8, 16))}).state["w"]
    assert placed.sharding == new["w"].sharding
    assert {shard.data.shape for shard in placed.addressable_shards} == {(4, 4)}
    assert len(whole.sharding.device_set) == 1
    np.testing.assert_array_equal(placed, values)
    np.testing.assert_array_equal(whole, values)


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(last=1), [7]),
        (Retention(last=2), [6, 7]),
        (Retention(last=1, every=3), [3, 6, 7]),
        (Retention(last=1, best_metric="reward"), [4, 7]),
        (Retention(last=1, best_metric="-reward"), [2, 7]),
    ],
)
def test_what_stays_is_the_newest_every_kth_and_the_best(tmp_path, retention, kept):
    """Rewards of steps 1 to 7; step 5 is not finite and step 3 was not measured."""
    rewards = {1: 0.2, 2: 0.1, 4: 0.9, 5: float("nan"), 6: 0.5, 7: 0.4}
    with Checkpoints(tmp_path, CONFIG, retention=retention) as checkpoints:
        for step in range(1, 8):
            metrics = {"reward": rewards[step]} if step in rewards else {}
            checkpoints.save(Snapshot(step, {"w": jnp.float32(step)}), metrics)
        assert checkpoints.steps == tuple(kept)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == kept


def test_the_only_checkpoint_stays_when_its_successor_cannot_be_written(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    checkpoints = Checkpoints(tmp_path, CONFIG, retention=Retention(last=1))
    checkpoints.save(Snapshot(1, make_state(1.0)))
    checkpoints.wait()
    monkeypatch.setattr(ocp.JsonCheckpointHandler, "finalize", full, raising=False)
    monkeypatch.setattr(ocp.StandardCheckpointHandler, "finalize", full)
    checkpoints.save(Snapshot(2, make_state(2.0)))
    with pytest.raises(
        CheckpointError, match=r"cannot be written \(.*No space left on device\); see to space and rights"
    ):
        checkpoints.wait()
    monkeypatch.undo()
    with Checkpoints(tmp_path, CONFIG, retention=Retention(last=1)) as again:
        assert again.steps == (1,)
        assert float(again.restore(make_state()).state.params["layers"]["0"][0, 0]) == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_checkpoint_whose_removal_was_cut_short_is_in_nobodys_way(tmp_path):
    """A kill while retention removes step 1 leaves some of its files."""
    best = Retention(last=2, best_metric="reward")
    with Checkpoints(tmp_path, CONFIG, retention=best) as checkpoints:
        for step in (1, 2):
            checkpoints.save(Snapshot(step, make_state(float(step))), {"reward": -step})
    for name in ("record", "metrics", "_CHECKPOINT_METADATA"):
        path = tmp_path / "1" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with Checkpoints(tmp_path, CONFIG, retention=best) as checkpoints:
        assert checkpoints.restore(make_state()).step == 2
        checkpoints.save(Snapshot(3, make_state(3.0)), {"reward": -3})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_another_configuration_is_refused_by_its_fields(tmp_path):
    save(tmp_path, Snapshot(5, make_state()))
    other = {"seed": 4, "num_steps": 20, "optimiser": {"b1": 0.95, "decay": [1, 2]}, "lora": 8}
    with (
        Checkpoints(tmp_path, other, may_change=["num_steps"]) as checkpoints,
        pytest.raises(CheckpointError) as refused,
    ):
        checkpoints.restore(make_state())
    assert str(refused.value) == (
        f"checkpoint 5 in {tmp_path} belongs to another configuration: lora was absent, is 8; "
        "optimiser.b1 was 0.9, is 0.95; seed was 3, is 4; give the old values or another directory "
        "(a run that goes on may change num_steps)"
    )
    longer = {**CONFIG, "num_steps": 20}
    with Checkpoints(tmp_path, longer, may_change=["num_steps"]) as checkpoints:
        assert checkpoints.restore(make_state()).step == 5


def test_a_name_that_may_change_stands_for_the_fields_below_it():
    old = {"machine": {"mesh": "a", "slots": 1}, "machines": 1}
    new = {"machine": {"mesh": "b", "slots": 2}, "machines": 2}
    assert config_differences(old, new, ["machine"]) == ["machines was 1, is 2"]


def test_a_tuple_equals_the_list_that_json_makes_of_it():
    assert config_differences({"datasets": ["a", "b"]}, {"datasets": ("a", "b")}) == []


def test_a_long_list_of_differences_is_cut(tmp_path):
    save(tmp_path, Snapshot(5, make_state()))
    other = CONFIG | {f"field_{number}": 0 for number in range(12)}
    with (
        Checkpoints(tmp_path, other) as checkpoints,
        pytest.raises(CheckpointError, match=r"field_5 was absent, is 0; and 4 more; give the old values"),
    ):
        checkpoints.restore(make_state())


def test_another_state_is_refused_by_its_arrays(tmp_path):
    save(tmp_path, Snapshot(5, {"w": jnp.zeros((2, 3)), "old": jnp.zeros(1)}))
    template = {"w": jnp.zeros((2, 4), jnp.bfloat16), "new": jnp.zeros(2)}
    with (
        Checkpoints(tmp_path, CONFIG) as checkpoints,
        pytest.raises(
            CheckpointError,
            match=r"checkpoint 5 in .* holds another state: new was absent, is float32\[2\]; old was float32\[1\], "
            r"is absent; w was float32\[2, 3\], is bfloat16\[2, 4\]; give the configuration that wrote it",
        ),
    ):
        checkpoints.restore(template)


def test_damaged_files_are_named(tmp_path):
    save(tmp_path, Snapshot(5, make_state()))
    (tmp_path / "5/record/metadata").write_text("{")
    with (
        Checkpoints(tmp_path, CONFIG) as checkpoints,
        pytest.raises(
            CheckpointError, match=r"a checkpoint in .* cannot be read \(.*\); remove the damaged one"
        ),
    ):
        checkpoints.restore(make_state())


def test_retention_keeps_at_least_one():
    with pytest.raises(CheckpointError, match=r"keeps the last 0 and every 0th checkpoint; wanted last >= 1"):
        Retention(last=0)
