"""Build the native parts; everything else is said in pyproject.toml.

``NBMEM_PURE=1`` builds without them: the pure-Python twins serve then, and results say ``exact=False``
where the twin sees less.
"""

import os
import sys

from setuptools import Extension, setup

NATIVE = [
    "nbmem/process/_meter.pyx",
    "nbmem/process/_limitwatch.pyx",
    "nbmem/heap/_names.pyx",
    "nbmem/heap/_dominators.pyx",
    "nbmem/heap/_walk.pyx",
    "nbmem/heap/_births.pyx",
    "nbmem/heap/_attributes.pyx",
    "nbmem/heap/_frames.pyx",
    "nbmem/heap/_climb.pyx",
    "nbmem/tracing/_records.pyx",
    "nbmem/tracing/_lineprobe.pyx",
]


def extensions() -> list[Extension]:
    """List the extension modules, none where the platform cannot have them."""
    if os.environ.get("NBMEM_PURE") == "1" or not sys.platform.startswith("linux"):
        return []
    from Cython.Build import cythonize

    return cythonize(
        # optional: a missing compiler leaves the twin in charge instead of failing the installation
        [Extension(path[:-4].replace("/", "."), [path], optional=True) for path in NATIVE],
        compiler_directives={"language_level": 3, "embedsignature": False},
    )


setup(ext_modules=extensions())
