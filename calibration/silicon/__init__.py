"""Measured operator tables of NVIDIA's aiconfigurator as operators of a GPU profile.

``silicon_profile`` reads the tables of a GPU system (package ``aiconfigurator-core``, extra
``silicon``, or a folder of the same form), decides which of them a deployment uses
(:mod:`.resolver`), and gives a profile that :class:`mltwin.models.gpu.IterationModel` takes.
"""

from .package import Tables, package_folder
from .profile import MeasuredProfile, silicon_profile
from .resolver import Deployment, resolve

__all__ = [
    "Deployment",
    "MeasuredProfile",
    "Tables",
    "package_folder",
    "resolve",
    "silicon_profile",
]
