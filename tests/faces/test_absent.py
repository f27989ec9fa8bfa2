"""What is not there yet says so; what PyTorch switches off without a device is switched off."""

from __future__ import annotations

import pytest

import flambeau as torch


def test_cuda_is_absent() -> None:
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0
    torch.cuda.manual_seed_all(1)
    torch.cuda.empty_cache()
    for call in (
        torch.cuda.current_device,
        torch.cuda.synchronize,
        lambda: torch.cuda.set_device(0),
        torch.cuda.Event,
    ):
        with pytest.raises(AssertionError, match="not compiled with CUDA"):
            call()


def test_other_devices_answer_as_pytorch_does_without_them() -> None:
    from flambeau.cuda.memory import memory_reserved
    from flambeau.cuda.random import get_rng_state_all

    for device, error in (
        (torch.cuda, AssertionError),
        (torch.xpu, AssertionError),
        (torch.mps, RuntimeError),
    ):
        assert not device.is_available() and device.device_count() == 0
        device.manual_seed(1)
        with pytest.raises(
            error, match=f"{device.__name__.removeprefix('flambeau.')}.synchronize: .* enabled"
        ):
            device.synchronize()
    assert memory_reserved(0) == torch.xpu.max_memory_allocated() == 0 and get_rng_state_all() == []
    assert torch.cuda.memory_stats() == {} and torch.cuda.memory_stats() is not torch.cuda.memory_stats()
    with torch.cuda.device_of(torch.ones(1)), torch.cuda.stream(None), torch.accelerator.device_index(None):
        assert torch.accelerator.current_accelerator() is None
    for call in (torch.accelerator.current_device_index, lambda: torch.accelerator.device_index(0)):
        with pytest.raises(RuntimeError, match="Cannot access accelerator device when none is available"):
            call()
    assert torch.backends.cpu.get_cpu_capability() in ("AVX512", "AVX2", "DEFAULT")


def test_mixed_precision_switches_itself_off() -> None:
    import flambeau.cuda.amp as older

    x = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=1.0)
    with pytest.warns(UserWarning, match="Disabling"):
        scaler = torch.amp.GradScaler()
    with pytest.warns(UserWarning, match="Disabling"), torch.autocast("cuda", dtype=torch.float16):
        loss = (x * 2).sum()
    with older.autocast(enabled=False):
        scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert x.tolist() == [-1.0, -1.0] and not scaler.is_enabled()


def test_one_process_has_no_group() -> None:
    group = torch.distributed
    assert not group.is_available() and not group.is_initialized()
    with pytest.raises(NotImplementedError, match="not there yet"):
        group.init_process_group("gloo")
    for call in (
        group.get_rank,
        group.get_world_size,
        group.barrier,
        lambda: group.all_reduce(torch.ones(1)),
    ):
        with pytest.raises(ValueError, match="Default process group"):
            call()


def test_switches_of_backends_can_be_set() -> None:
    import flambeau.backends.cudnn as cudnn

    cudnn.benchmark = cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = True
    assert not torch.backends.mps.is_available() and torch.backends.cudnn.benchmark
