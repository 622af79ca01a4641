"""How the edges begin, and what holds of them at any weights."""

from __future__ import annotations

import math

import torch

from agnn_head.edges import LineEdge, LoopEdge


def test_a_node_tells_itself_at_first_what_it_is() -> None:
    state = torch.randn(2, 6, 16)
    assert torch.equal(LoopEdge(16)(state), state)


def test_edges_in_both_directions_are_one_matrix_transposed() -> None:
    line = LineEdge(12)
    torch.nn.init.normal_(line.free)
    h_i, h_j = torch.randn(7, 12), torch.randn(9, 12)
    torch.testing.assert_close(line.query(h_i) @ h_j.T, (line.query(h_j) @ h_i.T).T, rtol=1e-4, atol=1e-4)


def test_the_first_softmax_is_neither_flat_nor_one_hot() -> None:
    """On 60 x 60 positions of 256 normalised, rectified channels, one of which is the query itself."""
    torch.manual_seed(0)
    source = torch.randn(3600, 256).relu()
    with torch.no_grad():
        weight = (LineEdge(256).query(source[:100]) @ source.T).softmax(1)
    match = weight.diagonal()
    assert 0.02 < match.median() < 0.2 and match.max() < 0.9
    entropy = -(weight * weight.log()).sum(1) / math.log(3600)
    assert 0.5 < entropy.mean() < 0.99
