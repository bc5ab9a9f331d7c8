"""Meshes from flags, batches that do not fit them, how hosts find each other, each host's share."""

import jax
import pytest

from vigorl_jax.training import distributed
from vigorl_jax.training.distributed import DistributedError, Hosts

SLURM_STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("data=2,fsdp=4,tensor=1", (2, 4, 1)),
        ("fsdp=-1, tensor=2", (1, 4, 2)),
        ("tensor=2,data=4", (4, 1, 2)),
        ("data=-1,fsdp=8", (1, 8, 1)),
    ],
)
def test_a_mesh_is_named_axes_and_at_most_one_of_them_is_what_is_left(text, sizes):
    assert tuple(distributed.parse_mesh(text, 8).values()) == sizes
    assert dict(distributed.make_mesh(text).shape) == dict(
        zip(("data", "fsdp", "tensor"), sizes, strict=True)
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "data=2,model=4",
            r"mesh 'data=2,model=4': 'model=4' is not understood; wanted each of data, fsdp, tensor",
        ),
        ("data=2,data=4", r"'data=4' is not understood; wanted each of data, fsdp, tensor at most once"),
        ("fsdp=0", r"'fsdp=0' is not understood; .* a size of at least 1 or -1"),
        ("2,4,1", r"'2' is not understood; .* such as data=1,fsdp=-1,tensor=2"),
        ("fsdp=3", r"mesh 'fsdp=3' does not fit 8 devices: the sizes make 3; wanted sizes whose product"),
        ("fsdp=-1,tensor=3", r"does not fit 8 devices: the sizes make 3"),
        ("fsdp=-1,tensor=16", r"does not fit 8 devices: the sizes make 16"),
        ("fsdp=-1,data=-1", r"does not fit 8 devices: at most one axis may be -1"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(text, problem):
    with pytest.raises(DistributedError, match=problem):
        distributed.parse_mesh(text, 8)


def test_rows_that_the_mesh_does_not_divide_are_refused_with_the_nearest_that_it_does():
    mesh = distributed.make_mesh("data=2,fsdp=2,tensor=2")
    distributed.check_rows(12, mesh)
    with pytest.raises(
        DistributedError,
        match=r"a micro-batch of 10 rows cannot be split over a mesh of data 2 x fsdp 2; "
        r"wanted a multiple of 4, such as 8 or 12",
    ):
        distributed.check_rows(10, mesh, "a micro-batch")
    with pytest.raises(DistributedError, match=r"wanted a multiple of 4, such as 4$"):
        distributed.check_rows(3, mesh)


def test_the_shares_of_the_processes_are_the_global_batch_in_order():
    examples = list(range(12))
    shares = [examples[distributed.process_slice(12, number, 3)] for number in range(3)]
    assert shares == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert distributed.process_slice(5) == slice(0, 5)
    with pytest.raises(
        DistributedError, match=r"12 examples a step cannot be split over 5 processes; wanted a mult"
    ):
        distributed.process_slice(12, 0, 5)


def test_a_lone_process_starts_nothing(monkeypatch):
    started = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args: started.append(args))
    for name in SLURM_STEP:
        monkeypatch.delenv(name, raising=False)
    distributed.initialise()
    assert started == []
    monkeypatch.setattr(distributed, "is_pod", lambda environment: True)
    distributed.initialise()
    distributed.initialise(Hosts("10.0.0.1:1234", 4, 3))
    assert started == [(), ("10.0.0.1:1234", 4, 3)]


def test_a_slurm_step_of_several_tasks_is_a_pod():
    assert distributed.is_pod(SLURM_STEP)
    assert not distributed.is_pod({**SLURM_STEP, "SLURM_NTASKS": "1"})
    # A shell inside an allocation knows the job but is no step of it.
    assert not distributed.is_pod({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"})


@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        (
            Hosts("", 2, 1),
            r"process 1 of 2 has no coordinator; give coordinator=ADDRESS:PORT of process 0 as well",
        ),
        (
            Hosts("10.0.0.1", 2, 1),
            r"coordinator '10.0.0.1', process 1 of 2; wanted ADDRESS:PORT of process 0",
        ),
        (
            Hosts("10.0.0.1:1", 2, 2),
            r"process 2 of 2; wanted ADDRESS:PORT of process 0, and 0 <= process_id <",
        ),
    ],
)
def test_flags_that_name_no_process_are_refused(hosts, problem):
    with pytest.raises(DistributedError, match=problem):
        distributed.initialise(hosts)


def test_one_process_gathers_its_own():
    assert distributed.all_gather_bytes(b"abc") == [b"abc"]
    assert distributed.any_process(True)
    assert not distributed.any_process(False)
    assert distributed.is_main()
