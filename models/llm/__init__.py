"""Large language models as the simulator sees them: shapes, parameters, bytes.

``Model`` is read from a Hugging Face ``config.json`` (:func:`load_model`); nothing of the weights
themselves is needed. All counts follow from the architecture fields alone, with the formulas in
:mod:`mltwin.models.llm.model`.
"""

from .config import load_model, model_names, parse_config
from .model import Gemm, Mla, Model, Moe
from .precision import PRECISIONS, Precision, precision

__all__ = [
    "PRECISIONS",
    "Gemm",
    "Mla",
    "Model",
    "Moe",
    "Precision",
    "load_model",
    "model_names",
    "parse_config",
    "precision",
]
