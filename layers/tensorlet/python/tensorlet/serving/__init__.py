"""From a model's name to an answer: resolve the version, load it once, keep it, run it."""
