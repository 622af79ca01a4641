"""The table of bad inputs: by kind, the command, how its world is spoilt, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.reliability.world import (
    COLOURS,
    DEEP,
    EMPTY,
    MANY_IDS,
    SOFT,
    Spoil,
    copied,
    cut,
    emptied,
    holding,
    led_out,
    linked,
    misshapen,
    not_a_number,
    nothing,
    pickled,
    redrawn,
    resized,
    without,
)


class Bad(NamedTuple):
    """A bad input."""

    command: str
    spoil: Spoil
    says: str
    """A part of the message that names the file or the option; `{root}` is the folder of the world."""
    more: Sequence[str] = ()
    """Words after those of the command that works; `{root}` as in `says`."""


FIRST, CLIP, DOG = "first.png", "clip/00002.jpg", "davis/Annotations/480p/dog/00001.png"
RESULT, BEGIN = "results/dog/00001.png", "davis/Annotations/480p/dog/00000.png"
PHI, AGNN = "phi.safetensors", "agnn.safetensors"
ONE_SHOT = ("--task", "one-shot")
PROBE = ("--task", "probe", "--pred", "null", "--weights", "{root}/phi.safetensors")
GROUPS = ("--task", "cosegmentation", "--gt", "{root}/groups", "--pred", "{root}/found")
TRAINS = ("pretrain", "finetune")
"""Commands whose device is that of the engine."""
OUT = ("synth", "synth-groups", "prior", "pretrain", "finetune", "propagate", "segment", "cosegment", "masks", "demo")
"""Commands with an output folder."""
FILES = {"export": "resnet.pth", "evaluate": "scores.json", "convert": "ours.safetensors", "report": "page.html"}
"""Commands that write a file."""
IN_USE = {"pretrain": "no config.yaml", "finetune": "no config.yaml", "segment": "clip", "propagate": "clip"}
PLACES = {"segment": "out/clip", "propagate": "out/clip", "cosegment": "out/cats"}

WEIGHTS: dict[str, tuple[str, Sequence[str]]] = {
    "segment": (PHI, ()),
    "propagate": (PHI, ()),
    "calibrate": (PHI, ()),
    "finetune": (PHI, ()),
    "cosegment": (AGNN, ()),
    "export": (PHI, ()),
    "evaluate": (PHI, PROBE),
}
"""Commands that read weights of mug: the file, and the words."""
OTHERS: dict[str, tuple[str, Sequence[str]]] = {
    "convert": ("theirs.pth", ()),
    "pretrain": ("theirs.pth", ("--weights", "{root}/theirs.pth")),
    "prior": (
        "theirs.pth",
        ("--kind", "cam", "--classifier", "torchvision:resnet18", "--classifier_weights", "{root}/theirs.pth"),
    ),
}
"""Commands that read weights of others."""

TABLE: dict[str, list[Bad]] = {
    "missing file or folder": [
        Bad("segment", without("clip"), "{root}/clip: no such file or folder"),
        Bad("propagate", without("clip"), "{root}/clip: no such file or folder"),
        Bad("propagate", without(FIRST), "{root}/first.png: no such mask"),
        Bad("prior", without("clips"), "{root}/clips: no such file or folder"),
        Bad("pretrain", without("clips"), "{root}/clips: no such file or folder"),
        Bad("pretrain", nothing, "{root}/maps/", ("--maps", "{root}/maps")),
        Bad("finetune", without("davis"), "{root}/davis: no such folder"),
        Bad("finetune", nothing, "{root}/stills", ("--stills", "[{root}/stills]")),
        Bad("cosegment", without("groups"), "{root}/groups: no such folder"),
        Bad("evaluate", without("davis"), "{root}/davis: no such folder"),
        Bad("evaluate", without("results"), "{root}/results: no such folder"),
        Bad("evaluate", without("davis/Annotations"), "{root}/davis: "),
        Bad("masks", without("results"), "{root}/results: "),
        Bad("masks", without("davis"), "{root}/davis: "),
        Bad("report", without("results"), "{root}/results: no such file or folder"),
        Bad("report", without("davis"), "{root}/davis: "),
        Bad("synth", without("photos"), "{root}/photos: "),
        Bad("synth", nothing, "{root}/shapes: ", ("--cutouts", "{root}/shapes")),
        Bad("synth-groups", without("photos"), "{root}/photos: "),
        *(Bad(name, without(file), f"{{root}}/{file}: no such file", more) for name, (file, more) in WEIGHTS.items()),
        *(Bad(name, without(file), f"{{root}}/{file}: no such file", more) for name, (file, more) in OTHERS.items()),
    ],
    "empty folder": [
        Bad("segment", emptied("clip"), "{root}/clip: holds no video"),
        Bad("propagate", emptied("clip"), "{root}/clip: holds no video"),
        Bad("prior", emptied("clips"), "{root}/clips: holds no video"),
        Bad("pretrain", emptied("clips"), "{root}/clips: holds no video"),
        Bad("finetune", emptied("davis"), "{root}/davis: holds no group"),
        Bad("cosegment", emptied("groups"), "{root}/groups: holds no group"),
        Bad("evaluate", emptied("davis"), "{root}/davis: is no dataset"),
        Bad("evaluate", emptied("results"), "{root}/results: holds no"),
        Bad("masks", emptied("results"), "{root}/results: "),
        Bad("report", emptied("results"), "{root}/results: holds no"),
        Bad("synth", emptied("photos"), "{root}/photos: "),
        Bad("synth-groups", emptied("photos"), "{root}/photos: "),
    ],
    "nothing that can be decoded": [
        Bad("segment", holding("clip/*.jpg"), "{root}/clip/00000.jpg: cannot be decoded"),
        Bad("segment", holding("clip.mp4"), "{root}/clip.mp4: cannot be read as a video", ("{root}/clip.mp4",)),
        Bad("propagate", holding("clip/*.jpg"), "{root}/clip/00000.jpg: cannot be decoded"),
        Bad("propagate", holding("clip.mp4"), "{root}/clip.mp4: cannot be read as a video", ("{root}/clip.mp4",)),
        Bad("prior", holding("clips/*/*.jpg"), "{root}/clips: "),
        Bad("pretrain", holding("clips/*/*.jpg"), "{root}/clips: "),
        Bad("finetune", holding("davis/JPEGImages/480p/*/*.jpg"), "{root}/davis/JPEGImages/480p/"),
        Bad("cosegment", holding("groups/cats/*.jpg"), "{root}/groups/cats/00000.jpg: cannot be decoded"),
        Bad("synth", holding("photos/*.jpg"), "{root}/photos/"),
        Bad("synth-groups", holding("photos/*.jpg"), "{root}/photos/"),
        Bad("report", holding("scores.json", b"\x00\xff"), "{root}/scores.json: ", ("{root}/scores.json",)),
    ],
    "truncated picture": [
        Bad("segment", cut(CLIP), "{root}/clip/00002.jpg: "),
        Bad("propagate", cut(CLIP), "{root}/clip/00002.jpg: "),
        Bad("propagate", cut(FIRST), "{root}/first.png: "),
        Bad("cosegment", cut("groups/cats/00002.jpg"), "{root}/groups/cats/00002.jpg: "),
        Bad("finetune", cut(DOG), f"{{root}}/{DOG}: "),
        Bad("evaluate", cut(DOG), f"{{root}}/{DOG}: "),
        Bad("evaluate", cut(RESULT), f"{{root}}/{RESULT}: "),
        Bad("evaluate", cut("found/cats/00002.png"), "{root}/found/cats/00002.png: ", GROUPS),
        Bad("masks", cut(RESULT), f"{{root}}/{RESULT}: "),
        Bad("report", cut(RESULT), f"{{root}}/{RESULT}: "),
        Bad("synth", cut("photos/00001.jpg"), "{root}/photos/00001.jpg: "),
        Bad("synth-groups", cut("photos/00001.jpg"), "{root}/photos/00001.jpg: "),
    ],
    "frames of several sizes": [
        Bad("segment", resized(CLIP), "{root}/clip/00002.jpg: is 32x24"),
        Bad("propagate", resized(CLIP), "{root}/clip/00002.jpg: is 32x24"),
        Bad("finetune", resized("davis/*/480p/dog/00001.*"), "dog: its frames differ in size"),
    ],
    "mask of another encoding": [
        Bad("propagate", redrawn(FIRST, DEEP), "{root}/first.png: holds 16 bits"),
        Bad("propagate", redrawn(FIRST, SOFT), "{root}/first.png: 256 grey levels"),
        Bad("propagate", redrawn(FIRST, COLOURS), "{root}/first.png: colour (200, 30, 99)"),
        Bad("propagate", redrawn(FIRST, MANY_IDS), "{root}/first.png: holds 16 bits"),
        Bad("evaluate", redrawn(DOG, DEEP), f"{{root}}/{DOG}: holds 16 bits"),
        Bad("evaluate", redrawn(DOG, COLOURS), f"{{root}}/{DOG}: colour"),
        Bad("evaluate", redrawn(RESULT, SOFT), f"{{root}}/{RESULT}: "),
        Bad("evaluate", redrawn(RESULT, MANY_IDS), f"{{root}}/{RESULT}: holds 16 bits"),
        Bad("finetune", redrawn(DOG, DEEP), f"{{root}}/{DOG}: holds 16 bits"),
        Bad("finetune", redrawn(DOG, SOFT), f"{{root}}/{DOG}: "),
        Bad("masks", redrawn(RESULT, MANY_IDS), f"{{root}}/{RESULT}: holds 16 bits"),
        Bad("report", redrawn(RESULT, MANY_IDS), f"{{root}}/{RESULT}: holds 16 bits"),
    ],
    "mask of another size or number": [
        Bad("propagate", resized(FIRST), "{root}/first.png: is 32x24"),
        Bad("evaluate", resized(RESULT), f"{{root}}/{RESULT}: is 32x24"),
        Bad("evaluate", without(RESULT), f"{{root}}/{RESULT}: is missing"),
        Bad("evaluate", copied(RESULT, "results/dog/00009.png"), "{root}/results/dog/00009.png: "),
        Bad("evaluate", without("results/dog"), "{root}/results/dog: "),
        Bad("evaluate", without("found/cats/00002.png"), "found/cats", GROUPS),
        Bad("finetune", resized(DOG), f"{{root}}/{DOG}: is 32x24 and its image 64x48"),
        Bad("cosegment", copied("groups/cats/GroundTruth/00000.png", "groups/cats/GroundTruth/9.png"), "GroundTruth/9"),
        Bad("masks", resized(RESULT), f"{{root}}/{RESULT}: "),
        Bad("report", resized(RESULT), "the mask dog/00001"),
    ],
    "mask without an object": [
        Bad("propagate", redrawn(FIRST, EMPTY), "{root}/first.png: shows no object"),
        Bad("evaluate", redrawn(BEGIN, EMPTY), f"{{root}}/{BEGIN}: the first annotation has no object", ONE_SHOT),
    ],
    "weights of another architecture": [
        *(Bad(name, misshapen(file), f"{{root}}/{file}: ", more) for name, (file, more) in WEIGHTS.items()),
        Bad("segment", nothing, "{root}/agnn.safetensors: ", ("--weights", "{root}/agnn.safetensors")),
        Bad("propagate", nothing, "{root}/agnn.safetensors: ", ("--weights", "{root}/agnn.safetensors")),
        Bad("cosegment", nothing, "{root}/phi.safetensors: holds no agnn", ("--weights", "{root}/phi.safetensors")),
        Bad("finetune", nothing, "{root}/agnn.safetensors: ", ("--weights", "{root}/agnn.safetensors")),
        *(Bad(name, nothing, "{root}/theirs.pth: ", more) for name, (_, more) in OTHERS.items()),
    ],
    "pickle in place of weights": [
        *(Bad(name, pickled(file), f"{{root}}/{file}: is a pickle", more) for name, (file, more) in WEIGHTS.items()),
        *(Bad(name, pickled(file), f"{{root}}/{file}: ", more) for name, (file, more) in OTHERS.items()),
    ],
    "truncated weights": [
        *(Bad(name, cut(file), f"{{root}}/{file}: is damaged", more) for name, (file, more) in WEIGHTS.items()),
        *(Bad(name, cut(file), f"{{root}}/{file}: ", more) for name, (file, more) in OTHERS.items()),
    ],
    "NaN in weights": [
        Bad(name, not_a_number(file), f"{{root}}/{file}: ", more) for name, (file, more) in WEIGHTS.items()
    ],
    "full disk": [
        *(Bad(name, nothing, "1 MiB are free on its disk") for name in OUT),
        *(Bad(name, nothing, "{root}: only 1 MiB are free") for name in FILES),
    ],
    "output that is there already": [
        *(
            Bad(name, holding(f"{PLACES.get(name, 'out')}/00000.png"), f"{{root}}/{PLACES.get(name, 'out')}: ")
            for name in OUT
        ),
        *(Bad(name, holding(file), f"{{root}}/{file}: is there already") for name, file in FILES.items()),
    ],
    "output that cannot be made": [
        *(Bad(name, holding("out"), "{root}/out") for name in OUT),
        *(
            Bad(name, holding("file"), "{root}/file/", ("--out", f"{{root}}/file/more/{file}"))
            for name, file in FILES.items()
        ),
    ],
    "CUDA where there is none": [
        *(
            Bad(name, nothing, "--device cuda: ", ("--device", "cuda"))
            for name in WEIGHTS
            if name not in ("finetune", "evaluate", "export")
        ),
        *(Bad(name, nothing, "CUDA was asked for", ("--device", "cuda")) for name in TRAINS),
    ],
    "name that leads out of the output folder": [
        Bad("segment", led_out, "'..' would lead out", ("{root}/davis", "--split", "val")),
        Bad("propagate", led_out, "..", ("{root}/davis", "--split", "val", "--mask", "null")),
        Bad("segment", linked, "{root}/out/clip: is a link that leads out"),
        Bad("propagate", linked, "{root}/out/clip: is a link that leads out", ("--overwrite",)),
        Bad("cosegment", linked, "{root}/out/cats: is a link that leads out"),
    ],
    "option that does not exist": [
        Bad(name, nothing, "--paralel", ("--paralel", "3")) for name in (*OUT, *FILES, "calibrate", "doctor")
    ],
    "value out of range or of another type": [
        Bad("synth", nothing, "--videos", ("--videos", "0")),
        Bad("synth", nothing, "--objects", ("--objects", "3..1")),
        Bad("synth", nothing, "objects do not fit", ("--objects", "200")),
        Bad("synth-groups", nothing, "--size", ("--size", "large")),
        Bad("prior", nothing, "--stride 0", ("--stride", "0")),
        Bad("prior", nothing, "--kind", ("--kind", "colour")),
        Bad("pretrain", nothing, "batch: 0", ("--batch", "0")),
        Bad("pretrain", nothing, "sample.size: 60", ("--sample.size", "60")),
        Bad("pretrain", nothing, "and a batch takes 50", ("--batch", "50")),
        Bad("finetune", nothing, "steps: 0", ("--steps", "0")),
        Bad("finetune", nothing, "--hold 9", ("--hold", "9")),
        Bad("cosegment", nothing, "--nodes 0", ("--nodes", "0")),
        Bad("cosegment", nothing, "--memory", ("--memory", "1e-9")),
        Bad("calibrate", nothing, "--preset", ("--preset", "best")),
        Bad("convert", nothing, "system", ("best",)),
        Bad("export", nothing, "resnet.onnx", ("--out", "{root}/resnet.onnx")),
        Bad("export", nothing, "--to", ("--to", "caffe")),
        Bad("masks", nothing, "--to", ("--to", "svg")),
        Bad("masks", nothing, "--videos: has no effect", ("--to", "png")),
        Bad("masks", nothing, "--to rgba: shows the frames", ("--videos", "null")),
        Bad("propagate", nothing, "--size", ("--size", "0")),
        Bad("segment", nothing, "--split", ("--split", "val")),
        Bad("segment", nothing, "system", ("--system", "best")),
        Bad("evaluate", nothing, "--workers 0", ("--workers", "0")),
        Bad("evaluate", nothing, "--threshold", ("--threshold", "1.5")),
        Bad("evaluate", nothing, "scores.txt", ("--out", "{root}/scores.txt")),
        Bad("demo", nothing, "--quick", ("--quick=perhaps",)),
    ],
    "configuration file": [
        Bad("segment", nothing, "{root}/none.yaml: ", ("--config", "{root}/none.yaml")),
        Bad("propagate", holding("c.yaml", b"size: [\n"), "{root}/c.yaml: ", ("--config", "{root}/c.yaml")),
        Bad("pretrain", holding("pretrain.yaml", b"batch: {a: &x [*x]}\n"), "pretrain.yaml"),
        Bad("pretrain", holding("pretrain.yaml", b"\x80\xff"), "{root}/pretrain.yaml: "),
        Bad("finetune", holding("c.yaml", b"stepz: 3\n"), "{root}/c.yaml: 'stepz'", ("--config", "{root}/c.yaml")),
        Bad("synth", holding("c.yaml", b"- 3\n"), "{root}/c.yaml: ", ("--config", "{root}/c.yaml")),
        Bad("evaluate", holding("c.yaml", b"split: [1]\n"), "{root}/c.yaml: split", ("--config", "{root}/c.yaml")),
        Bad("cosegment", holding("c.yaml", b"nodes: many\n"), "{root}/c.yaml: nodes", ("--config", "{root}/c.yaml")),
    ],
}
"""Kinds and their cases."""
