"""What was published, or would be, in a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlxforge.units import readable_bytes

__all__ = ["dry_run_lines", "upload_lines"]


def upload_lines(name: str, receipt: Mapping[str, Any]) -> str:
    """Where it is, at which commit, and what went over the wire."""
    tag = f", tag {receipt['tag']}" if receipt["tag"] else ""
    sent = receipt["sent"]
    size = readable_bytes(receipt["sent_bytes"])
    rows = [
        ("published", receipt["url"]),
        ("commit", f"{receipt['commit']} on {receipt['revision']}{tag}"),
        ("sent", f"{len(sent)} files, {size}" if sent else "nothing: all of it was there"),
    ]
    if receipt["draft"]:
        rows.append(("draft", "the Hub leaves it to others, or to its page, to open it for review"))
    if receipt["removed"]:
        rows.append(("removed", ", ".join(receipt["removed"])))
    return _block(name, rows)


def dry_run_lines(
    name: str, where: str, sizes: Mapping[str, int], send: Sequence[str], remove: Sequence[str]
) -> str:
    """Every file with its size and what would become of it."""
    total = readable_bytes(sum(sizes[file] for file in send))
    rows = [("would go to", where), ("would send", f"{len(send)} of {len(sizes)} files, {total}")]
    lines = [_block(name, rows)]
    width = max(map(len, [*sizes, *remove]))
    for file, size in sorted(sizes.items()):
        fate = "send" if file in send else "is there"
        lines.append(f"    {file:<{width}}  {readable_bytes(size):>9}  {fate}")
    lines += [f"    {file:<{width}}  {'':>9}  remove" for file in remove]
    return "\n".join(lines)


def _block(name: str, rows: Sequence[tuple[str, str]]) -> str:
    return f"\n{name}\n" + "\n".join(f"  {label:<11} {text}" for label, text in rows)
