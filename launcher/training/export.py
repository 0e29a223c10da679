"""A trained model as files: complete under their names, or not there at all.

Written by one task only, from a model free of any strategy.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from launcher.errors import LaunchError
from launcher.training.progress import mark


def save(
    model: keras.Model,
    directory: Path,
    name: str,
    endpoints: Mapping[str, Callable[..., Any]] | None = None,
) -> tuple[Path, Path, Path]:
    """Write `name`.keras, `name`.h5 and the SavedModel `name`; return their paths.

    endpoints: what the SavedModel serves beside `serve`, the model's own call: tf.functions with
        an input signature.

    Raises:
        LaunchError: when the directory cannot be written.
    """
    paths = directory / f"{name}.keras", directory / f"{name}.h5", directory / name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths[:2]:
            _replace(path, model.save)
        _replace(paths[2], lambda path: _export(model, path, endpoints or {}))
    except OSError as error:
        raise LaunchError(f"{directory}: cannot write the model: {error}") from None
    for path in paths:
        mark("model", path=str(path))
    return paths


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Have `write` make a file or directory under another name, then give it its own."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        if path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def _export(model: keras.Model, path: Path, endpoints: Mapping[str, Callable[..., Any]]) -> None:
    archive = keras.export.ExportArchive()
    archive.track(model)
    specs = [tf.TensorSpec(x.shape, x.dtype, x.name) for x in model.inputs]
    archive.add_endpoint("serve", model.__call__, input_signature=specs, training=False)
    for name, endpoint in endpoints.items():
        archive.add_endpoint(name, endpoint)
    archive.write_out(str(path), verbose=False)
