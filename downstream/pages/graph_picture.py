"""Picture of AGNN on a video: frames, edges, gates and masks of one graph (AGNN Eq. 4 - 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from agnn_head.model import AGNN
from downstream.systems.agnn import GraphConfig
from downstream.systems.trained import PAPER_SIDE
from downstream.zero_shot.cut import expected_cut
from downstream.zero_shot.in_order import square
from mug.errors import InputError
from mug.media.overlay import blend
from mug.media.refine import recut
from mug.media.video import Video

MAX_NODES = 5
"""Maximum number of columns; more would be too narrow."""


@dataclass
class GraphView:
    """Content of the picture: attention from a point of the first frame to all frames, gates and masks."""

    frames: list[np.ndarray]
    """N frames, HWC uint8 RGB."""
    names: list[str]
    """Names of the frames."""
    point: tuple[int, int]
    """(x, y) of a cell of the first frame, in cells."""
    attention: np.ndarray
    """(N, h, w): attention of the point over each frame; each map sums to 1. The first is that of the loop edge."""
    gates: np.ndarray
    """(N,): g_j1, the gate on each frame's message to the first frame, averaged over channels."""
    probability: np.ndarray
    """(N, h, w): foreground probability, shifted so that the threshold is 0.5."""
    alpha: float
    """Factor alpha of the loop edge's attention (Eq. 4)."""


def graph_picture(video: Video, model: AGNN, config: GraphConfig | None = None) -> np.ndarray:
    """Draws the graph of a few frames spread evenly over a video.

    Args:
        video: A video of at least one frame.
        model: The model in evaluation mode, on its device.
        config: `nodes` (at most 5 are drawn), `side`, `iterations` and `cut` are used; scales and mirroring are not.

    Returns:
        HWC uint8 RGB, 1200 pixels wide.

    Raises:
        InputError: a frame cannot be read, a setting is out of range, or the model passes no messages.
    """
    return render_graph(view(video, model, config or GraphConfig()))


@torch.inference_mode()
def view(video: Video, model: AGNN, config: GraphConfig) -> GraphView:
    """Computes the content of the picture; attention and gates are those of the last round. See `graph_picture`."""
    config.check()
    rounds = model.rounds(config.iterations)
    if rounds == 0:
        raise InputError(
            "--graph.iterations 0, or a model without the graph: there is no edge to draw; use 1 or more, or another"
        )
    count = min(config.nodes, MAX_NODES, len(video))
    chosen = [round(k * (len(video) - 1) / max(count - 1, 1)) for k in range(count)]
    frames = [video[index] for index in chosen]
    seen = torch.stack([square(frame, config.side or PAPER_SIDE) for frame in frames])
    v_bnchw = model.embed(seen.to(next(model.parameters()).device).float() / 255)[None]
    before = model.propagate(v_bnchw, iterations=rounds - 1)
    logits = model.read(model.propagate(v_bnchw, before, 1), v_bnchw)
    probability = logits[0, :, 0].float().sigmoid().cpu().numpy()
    if config.cut == "expected":
        probability = recut(probability, expected_cut(probability))
    point = inner_point(probability[0])
    h_nchw = before[0]
    maps = [model.loop_attention_map(h_nchw[0], point)]
    maps += [model.attention_map(h_nchw[0], h_chw, point) for h_chw in h_nchw[1:]]
    gates = model.gates(before)[0, 0].mean(-1)
    return GraphView(
        frames,
        [video.frame_names[index] for index in chosen],
        point,
        torch.stack(maps).float().cpu().numpy(),
        gates.float().cpu().numpy(),
        probability,
        model.messages.loop.alpha.item(),
    )


def inner_point(probability: np.ndarray) -> tuple[int, int]:
    """The cell with the largest product of probability and distance from the mask's border.

    Args:
        probability: (h, w).

    Returns:
        (x, y); if no cell exceeds 0.5, the most probable one.
    """
    mask = np.pad((probability > 0.5).astype(np.uint8), 1)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    rank = probability * depth if mask.any() else probability
    y, x = np.unravel_index(int(rank.argmax()), rank.shape)
    return int(x), int(y)


# --- drawing ---------------------------------------------------------------------------------------------------------

WIDTH, MARGIN, GAP = 1200, 24, 12
INK, SOFT, RULE, GROUND = (29, 31, 33), (103, 107, 112), (223, 224, 222), (255, 255, 255)
POINT = (0, 229, 255)
BAR = (37, 99, 201)
TITLE, TEXT = 22, 17
DIM = 0.35
"""Brightness factor of a frame under its heat map."""


def render_graph(graph: GraphView) -> np.ndarray:
    """Draws a graph, HWC uint8 RGB, as rows of frames, edges, gates and masks."""
    count = len(graph.frames)
    column = (WIDTH - 2 * MARGIN - (count - 1) * GAP) // count
    height = round(column * graph.frames[0].shape[0] / graph.frames[0].shape[1])
    left = [MARGIN + k * (column + GAP) for k in range(count)]
    frames = [cv2.resize(frame, (column, height), interpolation=cv2.INTER_AREA) for frame in graph.frames]
    sheet = _Sheet(left, column, height)
    x, y = graph.point
    cells = graph.attention.shape[1:]
    mark = ((x + 0.5) * column / cells[1], (y + 0.5) * height / cells[0])

    sheet.title("Frames", "the nodes of one graph, and a point in the mask of the first")
    sheet.images(frames, mark)
    sheet.labels([f"frame {name}" for name in graph.names])
    sheet.title(
        "Edges", f"where that point looks: in its own frame (loop edge, alpha {graph.alpha:.2f}) and in the others"
    )
    sheet.images(heat(frames, graph.attention), mark)
    masks = graph.probability > 0.5
    sheet.labels([f"in the mask: {share:.0%}" for share in (graph.attention * masks).sum((1, 2))])
    sheet.title("Gates", "how much of each frame's message the first frame lets in, mean over channels")
    sheet.bars(graph.gates)
    sheet.title("Masks", "what is read from the nodes after the last round of messages")
    sheet.images([outlined(frame, p) for frame, p in zip(frames, graph.probability, strict=True)])
    sheet.labels([f"{share:.0%} of the frame" for share in masks.mean((1, 2))])
    return sheet.done()


def heat(frames: Sequence[np.ndarray], attention: np.ndarray) -> list[np.ndarray]:
    """Attention heat maps over darkened grey frames, each scaled to its own maximum.

    Args:
        frames: HWC uint8.
        attention: (N, h, w).
    """
    out = []
    for frame, weights in zip(frames, attention, strict=True):
        height, width = frame.shape[:2]
        share = cv2.resize(weights / weights.max(), (width, height), interpolation=cv2.INTER_LINEAR)
        glow = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        share = share[..., None]
        grey = DIM * cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2)
        out.append(np.clip(grey * (1 - share) + glow * share, 0, 255).astype(np.uint8))
    return out


def outlined(frame: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """A frame (HWC uint8) with the region above 0.5 on the grid (h, w) tinted and outlined in white."""
    height, width = frame.shape[:2]
    mask = (cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5).astype(np.uint8)
    out = blend(frame, mask, 0.4)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(out, contours, -1, (255, 255, 255), 2, cv2.LINE_AA))


class _Sheet:
    """A canvas of columns, filled from top to bottom."""

    def __init__(self, left: list[int], column: int, height: int) -> None:
        self._left, self._column, self._height = left, column, height
        self._page = Image.new("RGB", (WIDTH, 3 * height + 600), GROUND)
        self._pen = ImageDraw.Draw(self._page)
        self._y = 16

    def title(self, name: str, words: str) -> None:
        big, small = ImageFont.load_default(TITLE), ImageFont.load_default(TEXT)
        base = self._y + TITLE
        self._pen.text((MARGIN, base), name, INK, big, anchor="ls")
        self._pen.text((MARGIN + self._pen.textlength(name, big) + 12, base), words, SOFT, small, anchor="ls")
        self._y = base + 12

    def images(self, pictures: Sequence[np.ndarray], mark: tuple[float, float] | None = None) -> None:
        for x, picture in zip(self._left, pictures, strict=True):
            self._page.paste(Image.fromarray(picture), (x, self._y))
        if mark is not None:
            at_x, at_y = self._left[0] + mark[0], self._y + mark[1]
            for radius, colour in ((9, INK), (7, POINT), (3, INK)):
                self._pen.ellipse((at_x - radius, at_y - radius, at_x + radius, at_y + radius), colour)
        self._y += self._height + 8

    def labels(self, words: Sequence[str]) -> None:
        for x, text in zip(self._left, words, strict=True):
            self._pen.text((x, self._y), text, SOFT, ImageFont.load_default(TEXT))
        self._y += TEXT + 22

    def bars(self, gates: np.ndarray) -> None:
        font = ImageFont.load_default(TEXT)
        for x, gate in zip(self._left, gates, strict=True):
            self._pen.text((x, self._y), f"{gate:.2f}", INK, font)
            first, last = x + 48, x + self._column - 1
            top = self._y + 4
            self._pen.rectangle((first, top, last, top + 12), RULE)
            self._pen.rectangle((first, top, first + gate * (last - first), top + 12), BAR)
        self._y += TEXT + 22

    def done(self) -> np.ndarray:
        return np.asarray(self._page.crop((0, 0, WIDTH, self._y)))
