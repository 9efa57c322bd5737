"""What each method leaves of a trained model, at equal bits per weight, beside upstream's own.

    python -m benchmarks.quality [--only NAME…] [--markdown README.md] [--plot FILE.svg]

Every variant learns from the same windows and is scored in float32 on the same windows of other
kinds of text. What was measured is kept: a run that is stopped goes on where it was.
"""
