"""Drawing writes the generator's state: ordered, never dead, never merged."""

from __future__ import annotations

import flambeau as torch
from flambeau.stream.program import STATS

F = torch.nn.functional


def test_a_draw_that_nobody_uses_still_advances_the_generator() -> None:
    torch.manual_seed(5)
    torch.rand(3)
    second = torch.rand(3).tolist()
    torch.manual_seed(5)
    both = torch.rand(3).tolist(), torch.rand(3).tolist()
    assert second == both[1] != both[0]


def test_two_dropouts_are_two_draws() -> None:
    x = torch.ones(64)
    for _ in range(3):  # by instruction, then as a whole
        torch.manual_seed(0)
        a, b = F.dropout(x, 0.5), F.dropout(x, 0.5)
        assert a.tolist() != b.tolist()


def test_two_rands_are_two_draws_in_order() -> None:
    seen = []
    for _ in range(3):
        torch.manual_seed(1)
        a, b = torch.rand(8), torch.rand(8)
        seen.append((b.tolist(), a.tolist()))
    assert seen[0] == seen[1] == seen[2] and seen[0][0] != seen[0][1]


def test_the_state_is_read_after_what_was_recorded() -> None:
    torch.manual_seed(2)
    torch.rand(5)
    state = torch.get_rng_state()
    a = torch.rand(4).tolist()
    torch.set_rng_state(state)
    assert torch.rand(4).tolist() == a
    torch.manual_seed(2)
    assert torch.get_rng_state().tolist() != state.tolist()


def test_setting_the_state_comes_after_what_was_recorded() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    expected = torch.rand(6).tolist()
    torch.set_rng_state(state)
    a = torch.rand(6)
    torch.set_rng_state(state)
    b = torch.rand(6)
    assert a.tolist() == expected == b.tolist()


def test_seeds_are_arguments() -> None:
    def draw(seed: int) -> list[float]:
        torch.manual_seed(seed)
        return torch.rand(3).tolist()

    for seed in range(4):
        draw(seed)
    before = STATS["kernels"]
    assert draw(11) == draw(11) != draw(12)
    assert STATS["kernels"] == before


def test_generators_do_not_disturb_each_other() -> None:
    g = torch.Generator()
    g.manual_seed(7)
    torch.manual_seed(7)
    a = torch.rand(4, generator=g)
    b = torch.rand(4)
    c = torch.rand(4, generator=g)
    assert a.tolist() == b.tolist() and c.tolist() == torch.rand(4).tolist()


def test_a_draw_into_a_dead_tensor_advances() -> None:
    torch.manual_seed(9)
    torch.empty(5).uniform_()
    F.dropout(torch.ones(7))
    a = torch.rand(2).tolist()
    torch.manual_seed(9)
    torch.empty(5).uniform_().tolist()
    F.dropout(torch.ones(7)).tolist()
    assert torch.rand(2).tolist() == a
