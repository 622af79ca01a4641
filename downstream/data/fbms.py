"""FBMS-59 (Ochs, Malik & Brox 2014), in the published or a converted layout.

- Published: `ROOT/{Trainingset,Testset}/<sequence>/<frame>.jpg` with `GroundTruth` in each sequence: a PGM or PPM
  file for some frames, and `*Def.dat`, which lists these files and maps grey values or colours to regions. Other files
  there, such as `*_gt.pgm` beside `*_gt.ppm` and `*PROB*`, belong to the official measure and are ignored.
- Converted: `ROOT/JPEGImages/<sequence>/<frame>.jpg` with `ROOT/Annotations/<sequence>/<frame>.png`, with the names of
  the 59 sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from downstream.data.dataset import Annotation, Dataset, open_frames
from downstream.data.fbms_definition import Definition, read_definition
from mug.errors import InputError
from mug.media.listing import by_stem, files_of, frame_files, holds, mask_files, sequence_folders, subfolders
from mug.media.video import FrameFolder

_TRAIN = """
    bear01 bear02 cars2 cars3 cars6 cars7 cars8 cars9 cats02 cats04 cats05 cats07 ducks01 horses01 horses03 horses06
    lion02 marple1 marple10 marple11 marple13 marple3 marple5 marple8 meerkats01 people04 people05 rabbits01 rabbits05
"""
_TEST = """
    camel01 cars1 cars10 cars4 cars5 cats01 cats03 cats06 dogs01 dogs02 farm01 giraffes01 goats01 horses02 horses04
    horses05 lion01 marple12 marple2 marple4 marple6 marple7 marple9 people03 people1 people2 rabbits02 rabbits03
    rabbits04 tennis
"""
SETS = {"train": frozenset(_TRAIN.split()), "test": frozenset(_TEST.split())}
"""Names of the 29 training and the 30 test sequences."""
GROUND_TRUTH = "GroundTruth"
DEFINITION = (".dat",)


@dataclass(frozen=True)
class RegionAnnotation(Annotation):
    """A grey or colour image of regions.

    Attributes:
        colours: The code of each region, background first; pixels with any other code are background.
    """

    colours: tuple[int, ...]

    def read(self) -> np.ndarray:
        """See `Annotation`; region r is object r."""
        codes = _codes(self.path)
        mask = np.zeros(codes.shape, np.uint8)
        for region, colour in enumerate(self.colours[1:], start=1):
            mask[codes == colour] = region
        return mask


class FBMS(Dataset):
    """FBMS-59: few annotated frames, several objects. Z-VOS scores their union in every annotated frame."""

    kind = "fbms"
    title = "FBMS-59"

    @classmethod
    def lies_in(cls, root: Path) -> bool:
        """See `Dataset`; image groups also have folders `GroundTruth`, but without a definition file."""
        if {folder.name.lower() for folder in subfolders(root)} & {"trainingset", "testset"}:
            return True
        if any(holds(folder / GROUND_TRUTH, DEFINITION) for folder in subfolders(root)):
            return True
        names = {folder.name for folder in subfolders(root / "Annotations")}
        return bool(names) and names <= SETS["train"] | SETS["test"]

    def check(self) -> None:
        """See `Dataset`."""
        if not self._folders:
            raise InputError(
                f"{self.root}: holds no Testset/<sequence>/{GROUND_TRUTH} and no Annotations/<sequence>; give FBMS-59 "
                "as it is published"
            )
        for name in self._folders:
            self.frames(name)

    @property
    def _converted(self) -> bool:
        return (self.root / "Annotations").is_dir()

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """The mask folder of each sequence."""
        if self._converted:
            folder = self.root / "Annotations"
            return {name: folder / name for name in sequence_folders(folder)}
        sets = [folder for folder in subfolders(self.root) if folder.name.lower() in ("trainingset", "testset")]
        sequences = [sequence for folder in sets or [self.root] for sequence in subfolders(folder)]
        return {sequence.name: sequence / GROUND_TRUTH for sequence in sequences}

    def sequences(self, split: str | None = None) -> list[str]:
        """See `Dataset`; `split` is `train` (29 sequences) or `test` (30)."""
        if split is None:
            return list(self._folders)
        if split not in SETS:
            raise InputError(f"--split {split}: FBMS-59 has train and test; name one of them")
        if not (chosen := [name for name in self._folders if name in SETS[split]]):
            raise InputError(f"{self.root}: holds no sequence of the {split} set; unpack that set of FBMS-59 beside it")
        return chosen

    def frames(self, sequence: str) -> dict[str, Annotation]:
        """See `Dataset`."""
        folder = self._folders[sequence]
        if self._converted:
            return {name: Annotation(path) for name, path in mask_files(folder).items()}
        images = by_stem(frame_files(folder.parent))
        definition = self._definition(folder)
        found: dict[str, Annotation] = {}
        for truth, image in definition.files:
            path = folder / truth
            if not path.is_file():
                raise InputError(f"{path}: is missing, though the definition beside it names it; unpack it anew")
            stems = (Path(image).stem, path.stem.removesuffix("_gt"))
            stem = next((stem for stem in stems if stem in images), None)
            if stem is None:
                raise InputError(f"{path}: has no frame {stems[0]}.jpg in {folder.parent}; unpack the sequence anew")
            found[stem] = RegionAnnotation(path, definition.colours)
        return {stem: found[stem] for stem in images if stem in found}

    def _definition(self, folder: Path) -> Definition:
        found = files_of(folder, DEFINITION)
        if not found:
            raise InputError(f"{folder}: has no *Def.dat, which says what its colours mean; unpack the sequence anew")
        return read_definition(found[0])

    def video(self, sequence: str) -> FrameFolder:
        """See `Dataset`."""
        folder = self.root / "JPEGImages" / sequence if self._converted else self._folders[sequence].parent
        return open_frames(folder, sequence)


def _codes(path: Path) -> np.ndarray:
    """HW int64: grey values of a PGM file, or 65536 red + 256 green + blue of a PPM file."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{path}: cannot be read as an image, it may be truncated; unpack the sequence anew")
    wide = image.astype(np.int64)
    return wide if wide.ndim == 2 else wide[..., 2] << 16 | wide[..., 1] << 8 | wide[..., 0]
