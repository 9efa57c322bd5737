"""Side-by-side measurements against the upstream tools; never part of the tests.

    python -m benchmarks --list

Every row runs ours and theirs in turn, in the same run, each as whole process trees. A new row is
one function and one line in ``benchmarks.rows``.
"""
