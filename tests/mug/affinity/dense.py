"""What comparing with a dense float64 transcription takes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class LargestTensor(TorchDispatchMode):
    """Remembers how many elements the largest result of any operation has."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor):
                self.elements = max(self.elements, x.numel())
        return out


def fresh(*shape: int, unit: int | None = None) -> Tensor:
    x = torch.randn(*shape, dtype=torch.float64)
    return (F.normalize(x, dim=unit) if unit is not None else x).requires_grad_()


def assert_same(ours: Callable[..., Tensor], dense: Callable[..., Tensor], *inputs: Tensor) -> None:
    a, b = ours(*inputs), dense(*inputs)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    weight = torch.randn_like(b)
    inputs = tuple(x for x in inputs if x.requires_grad)
    for x, y in zip(torch.autograd.grad((a * weight).sum(), inputs), torch.autograd.grad((b * weight).sum(), inputs)):  # noqa: B905
        torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-10)
