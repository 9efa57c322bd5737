"""The model card: the README.md of a published model, made from its artifact alone."""

from __future__ import annotations

from mlxforge.report.card.body import body
from mlxforge.report.card.facts import CardFacts
from mlxforge.report.card.front_matter import card_front_matter

__all__ = ["CardFacts", "model_card"]


def model_card(facts: CardFacts) -> str:
    """The card of ``facts``: front matter by the Hub's conventions, then the page.

    Markdown that ends with a newline and can be encoded as UTF-8. The same facts give the same
    text: it holds no date, no host and no path of its own. The source's card is not trusted: what
    of its front matter is broken, of the wrong type or no value of its key is left out, see
    `mlxforge.report.card.source`. Other texts, such as names of layers and files, are shown as
    they are and cannot break out of their line or cell.
    """
    return f"{card_front_matter(facts)}\n{body(facts)}"
