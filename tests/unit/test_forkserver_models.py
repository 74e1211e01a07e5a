"""What every run would build anew is built before the forkserver forks."""

import importlib

from twezah.worker.forkserver import MODELS, _complete_models


def test_each_named_model_is_one_of_prefects_and_is_built() -> None:
    for module in MODELS:
        importlib.import_module(module)
    _complete_models()
    named = [
        getattr(importlib.import_module(module), name)
        for module, names in MODELS.items()
        for name in names
    ]
    assert [model.__name__ for model in named if not model.__pydantic_complete__] == []
