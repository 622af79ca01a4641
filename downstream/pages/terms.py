"""What the curves of a run show: in words, then as the equation."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """A column of metrics.csv that is plotted."""

    title: str
    words: str = ""
    equation: str = ""


PRETRAINING = {
    "total": Term(
        "Total loss",
        "The weighted sum of the terms below. Its parts say more: a term can rise while the sum falls.",
        "L = Σ β · L_term (Eq. 16)",
    ),
    "warp": Term(
        "Known warps",
        "A frame and a warped copy of it: is each place found again, and is the warp recognised?",
        "−log softmax(q · s⁺ / T) + ‖κ(q, s) − θ‖² (not in the paper)",
    ),
    "frame": Term(
        "Frame: what stands out",
        "Foreground of a single frame, compared with its map: the prior, later its own answer of the round before.",
        "L_frame = −Q log P − (1 − Q) log(1 − P), mean over cells (Eq. 2, 15)",
    ),
    "readout": Term(
        "Foreground, with other frames' help",
        "The same from features that have read other frames of the video.",
        "As Eq. 2, from r = [softmax(q · s / T) · v, v] (Eq. 11; Sec. 3.3)",
    ),
    "short": Term(
        "Short term: does a patch come back?",
        "A patch is followed two frames on and back. 1 means no answer at all; 0 that it is back where it began.",
        "L_short = ‖S − G_p‖² / ‖G_p‖² (Eq. 5)",
    ),
    "short_error_px": Term("Short term: distance in pixels", "How far from where it began the patch comes out."),
    "long": Term(
        "Long term: do two distant frames match?",
        "How much of the matching between two frames agrees with one warp. The more negative, the better.",
        "L_long = −Σ A(i, j) · [j is within one cell of κ(i)] (Eq. 6 – 8)",
    ),
    "inlier_share": Term(
        "Long term: share that agrees", "The same with a hard border of one cell, as a share of all matches."
    ),
    "video": Term(
        "Video: which frames belong together?",
        "A frame has to recognise its own video among those of the batch.",
        "L_video = −log p(own) − Σ log(1 − p(other)) (Eq. 12 – 14)",
    ),
    "instance_accuracy": Term(
        "Video: share recognised", "Share of frames that recognise their own video; chance is one in the batch."
    ),
    "retrieval_recall": Term(
        "Retrieval", "Share of clips whose nearest neighbour, by pooled r, is of their own video."
    ),
    "temperature": Term(
        "Matching temperature", "How sharply the most similar place is preferred; learned from known warps.", "T"
    ),
    "grad_norm": Term("Norm of the gradient", "A sudden rise warns of a run that falls apart."),
    "lr": Term("Learning rate", "The size of a step, as scheduled."),
}
"""Columns of a pretraining run, in order of appearance."""

SHARES = {
    "share_frame": "frame",
    "share_readout": "readout",
    "share_short": "short term",
    "share_long": "long term",
    "share_video": "video",
    "share_warp": "known warps",
}
"""Columns with each term's share of the trunk's gradient."""

FINETUNING = {
    "video": Term(
        "Loss on video",
        "Foreground compared with the annotation; in AGNN fore- and background count alike, whatever their areas.",
        "AGNN: −(1 − η) S log Ŝ − η (1 − S) log(1 − Ŝ) (Eq. 12)",
    ),
    "still": Term("Loss on still images", "The same for images of salient objects."),
    "mask": Term(
        "Loss of the masks",
        "The part of the loss that compares the final masks with the annotation.",
        "HCPN: cross-entropy (Eq. 6); RVOS: 1 − relaxed IoU (Sec. 3.3); A-GAME: cross-entropy",
    ),
    "contour": Term("Loss of the contours", "The same for the outlines of objects.", "HCPN, Eq. 6"),
    "stop": Term("Loss of the stop scores", "Does the network know when it has found every object?", "RVOS, Sec. 3.3"),
    "coarse": Term("Loss of the coarse masks", "The same for masks before they are refined."),
    "iou": Term("J of the masks of a step", "Overlap of the masks with the annotation, as they are learned."),
    "grad_norm": Term("Norm of the gradient", "A sudden rise warns of a run that falls apart."),
    "lr": Term("Learning rate", "The size of a step, as scheduled."),
}
"""Columns of a fine-tuning run, in order of appearance."""
