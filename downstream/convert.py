"""`mug convert`: the weights of a method's authors, as weights of mug."""

from __future__ import annotations

from downstream.options import ConvertOptions
from downstream.systems.base import Released, released_by
from mug.errors import InputError
from mug.lazy import resolve
from mug.media.files import prepare_file
from mug.networks.tensors import read_tensors


def convert(options: ConvertOptions) -> None:
    """Converts the authors' weights of a system and prints what becomes of every tensor.

    Raises:
        InputError: the file cannot be read or is not of that system, or the output exists.
    """
    translate = resolve(released_by(options.system))
    prepare_file(options.out, options.overwrite)
    tensors = read_tensors(options.file)
    try:
        found: Released = translate(tensors)
    except InputError as error:
        raise InputError(f"{options.file}: {error}") from error
    for theirs, x in tensors.items():
        print(f"{theirs} {tuple(x.shape)} -> {found.names.get(theirs, 'left out')}")
    found.format.save(options.out, found.network, {"training": f"{found.training} ({options.file.name})"})
    print(f"{len(found.names)} of {len(tensors)} tensors: {found.training}; the file is {options.out}")
