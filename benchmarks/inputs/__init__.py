"""What is measured on: made once from a seed, kept in a scratch folder, used by every run."""

from benchmarks.inputs.scratch import Input, Scratch

__all__ = ["Input", "Scratch"]
