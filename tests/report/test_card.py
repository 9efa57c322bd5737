"""The model card: what it says, and that no text from elsewhere can make it say another thing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mlxforge.report.card import CardFacts, model_card
from mlxforge.report.card.markdown import escaped, one_line
from mlxforge.report.card.source import SourceCard, read_source_card

SOURCE_CARD = """\
---
license: other
license_name: acme-community
license_link: LICENSE
language:
- en
- no
pipeline_tag: text-generation
tags:
- code
- pytorch
- 8-bit
- MLX
- arxiv:2401.00001
- region:us
---
# Parrot
"""

RESULT = {
    "arithmetic": "CPU, float32, libopenblas.so.0",
    "baseline": {
        "perplexity": {"standard_error": 0.00640486, "tokens": 32704, "value": 1.42888737},
        "sequence_length": 512,
        "windows": 64,
    },
    "figures": {
        "kl_divergence": {"max": 3.22, "mean": 0.00827123, "median": 0.00015912, "p99": 0.1111},
        "perplexity": {"standard_error": 0.00653111, "tokens": 32704, "value": 1.44012345},
        "top1_agreement": 0.95123456789,
    },
    "samples": [{"prompt": "What does a duck do?", "text": "A duck quacks."}],
}

LAYERS = [
    (
        "  model.embed_tokens", "embeddings", "1", "512x128", "4", "64", "affine", "36,864",
        "default (recipes/parrot-4bit.yaml:3:1)",
    ),
    (
        "  model.layers.*.self_attn.q_proj", "attention", "3", "128x128", "8", "64", "affine",
        "52,224", "attention (recipes/parrot-4bit.yaml:6:7)",
    ),
    ("  model.norm", "other", "1", "128", "-", "", "", "256", "not quantizable"),
]  # fmt: skip

FACTS = CardFacts(
    name="parrot-4bit",
    repo="acme/Parrot-4bit",
    base_model="acme/Parrot",
    base_commit="0123456789abcdef0123456789abcdef01234567",
    source_card=SOURCE_CARD,
    licence_files=("LICENSE",),
    bits=4,
    group_size=64,
    mode="affine",
    method="rtn",
    dtype="bfloat16",
    bytes=287488,
    bits_per_weight=4.5203,
    source_bytes=1017600,
    digest="aa" * 32,
    backend="cpu",
    tools={"mlx": "0.32.4", "mlx-lm": "0.32.2", "mlxforge": "0.1.0"},
    figures=RESULT,
    text="Salesforce/wikitext (wikitext-2-raw-v1, test)",
    text_dataset=("Salesforce/wikitext", "wikitext-2-raw-v1", "test"),
    layers=LAYERS,
    recipe_file="parrot-4bit.yaml",
    lock_file="parrot-4bit.lock.yaml",
)


def matter(facts: CardFacts) -> dict[str, Any]:
    """The front matter as any reader of YAML sees it."""
    _, block, _ = model_card(facts).split("---\n", 2)
    found = yaml.safe_load(block)
    assert isinstance(found, dict)
    return found


def page(facts: CardFacts) -> list[Token]:
    """The page under the front matter as a renderer sees it."""
    _, _, text = model_card(facts).split("---\n", 2)
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def shown(inline: Token) -> str:
    """What is read on a line, and nothing that would be markup."""
    return "".join(token.content for token in inline.children or ())


def rows(tokens: list[Token], number: int) -> list[list[str]]:
    """The cells of the page's table ``number``, as they are read."""
    found: list[list[list[str]]] = []
    for before, token in pairwise(tokens):
        if before.type == "table_open":
            found.append([])
        if before.type == "tr_open":
            found[-1].append([])
        if before.type in ("td_open", "th_open"):
            found[-1][-1].append(shown(token))
    return found[number]


def marks(tokens: list[Token]) -> Iterator[str]:
    """The page's structure: blocks, links and raw HTML, without its texts."""
    for token in tokens:
        if token.type in ("html_block", "heading_open", "fence"):
            yield f"{token.type} {token.info} {token.content if token.type == 'html_block' else ''}"
        for child in token.children or ():
            if child.type not in ("text", "text_special", "code_inline"):
                yield child.type


def test_the_whole_card() -> None:
    expected = (Path(__file__).parent / "card.md").read_text(encoding="utf-8")
    assert model_card(FACTS) == expected


def test_the_same_facts_give_the_same_bytes_whatever_order_the_tools_came_in() -> None:
    other = replace(FACTS, tools=dict(reversed(FACTS.tools.items())))
    assert model_card(other).encode() == model_card(FACTS).encode()


class TestFrontMatter:
    def test_names_the_source_and_what_was_done_to_it(self) -> None:
        found = matter(FACTS)
        assert found["base_model"] == "acme/Parrot"
        assert found["base_model_relation"] == "quantized"
        assert found["library_name"] == "mlx"

    def test_has_no_relation_where_only_the_dtype_changed(self) -> None:
        found = matter(replace(FACTS, bits=None, group_size=None, mode=None, method="none"))
        assert found["base_model"] == "acme/Parrot"
        assert "base_model_relation" not in found
        assert not [tag for tag in found["tags"] if tag.endswith("bit")]

    def test_names_no_base_model_for_a_local_source(self) -> None:
        found = matter(replace(FACTS, base_model=None, base_commit=None))
        assert not {"base_model", "base_model_relation"} & found.keys()

    def test_keeps_the_sources_licence_and_language(self) -> None:
        found = matter(FACTS)
        assert (found["license"], found["license_name"]) == ("other", "acme-community")
        assert found["language"] == ["en", "no"]  # Norwegian, not false

    @pytest.mark.parametrize(
        ("written", "licence_files", "base_model", "link"),
        [
            ("LICENSE", ("LICENSE",), "acme/Parrot", "LICENSE"),
            (
                "LICENSE.md", ("LICENSE",), "acme/Parrot",
                f"https://huggingface.co/acme/Parrot/blob/{FACTS.base_commit}/LICENSE.md",
            ),
            ("LICENSE.md", (), None, None),
            ("https://acme.org/terms", (), None, "https://acme.org/terms"),
            ("javascript:alert(1)", (), "acme/Parrot", None),
            ("../../x", ("../../x",), "acme/Parrot", None),
        ],
    )  # fmt: skip
    def test_links_the_licence_where_it_is(
        self, written: str, licence_files: tuple[str, ...], base_model: str | None, link: str | None
    ) -> None:
        card = f"---\nlicense: mit\nlicense_link: {written}\n---\n"
        facts = replace(FACTS, source_card=card, licence_files=licence_files, base_model=base_model)
        assert matter(facts).get("license_link") == link

    def test_links_the_published_licence_where_the_source_says_other_and_no_more(self) -> None:
        facts = replace(FACTS, source_card="---\nlicense: other\n---\n")
        assert matter(facts)["license_link"] == "LICENSE"

    @pytest.mark.parametrize(
        ("tag", "vision", "expected"),
        [
            ("text-generation", False, "text-generation"),
            ("summarization", False, "summarization"),
            ("image-text-to-text", False, "text-generation"),  # mlx_lm keeps the text alone
            ("image-text-to-text", True, "image-text-to-text"),
            ("any-to-any", True, "any-to-any"),
            ("", False, "text-generation"),
            ("", True, "image-text-to-text"),
        ],
    )
    def test_says_what_the_model_is_for(self, tag: str, vision: bool, expected: str) -> None:
        card = f"---\npipeline_tag: {tag}\n---\n"
        facts = replace(FACTS, source_card=card, vision=vision)
        assert matter(facts)["pipeline_tag"] == expected

    def test_keeps_the_tags_that_are_still_true_once(self) -> None:
        assert matter(FACTS)["tags"] == ["mlx", "mlxforge", "4-bit", "code", "arxiv:2401.00001"]

    def test_the_hubs_client_reads_the_figures_back(self) -> None:
        data = ModelCard(model_card(FACTS)).data
        assert data.model_name == "Parrot-4bit"
        read = [
            (found.metric_type, found.metric_value, found.dataset_type, found.dataset_config,
             found.dataset_split, found.task_type)
            for found in data.eval_results
        ]  # fmt: skip
        where = ("Salesforce/wikitext", "wikitext-2-raw-v1", "test", "text-generation")
        assert read == [
            ("perplexity", 1.44012, *where),
            ("kl_divergence", 0.00827123, *where),
            ("top1_agreement", 0.951235, *where),
        ]
        assert {found.dataset_name for found in data.eval_results} == {FACTS.text}

    def test_a_text_of_ones_own_is_no_data_set_of_the_hub(self) -> None:
        facts = replace(FACTS, text="heldout.txt", text_dataset=None)
        (result,) = matter(facts)["model-index"][0]["results"]
        assert result["dataset"] == {"name": "heldout.txt", "type": "custom"}

    def test_only_what_was_measured_is_in_it(self) -> None:
        figures = RESULT | {"figures": {"perplexity": {"value": float("inf"), "standard_error": 0}}}
        assert "model-index" not in matter(replace(FACTS, figures=figures))
        assert "model-index" not in matter(replace(FACTS, figures=None))
        figures = RESULT | {"figures": {"top1_agreement": 0.5}}
        (result,) = matter(replace(FACTS, figures=figures))["model-index"][0]["results"]
        assert [metric["type"] for metric in result["metrics"]] == ["top1_agreement"]


class TestSourceCard:
    """Somebody else's text: what is no value of its key is left out, and nothing breaks."""

    def test_what_is_sound_beside_what_is_not_stays(self) -> None:
        card = """---
license: &mine Apache-2.0
license_name: *mine
language: 7
pipeline_tag: [text-generation, {x: y}]
tags: [one, 2, !!python/name:os.system x, [nested], "a\\nb", {a: b}, "\\e[31m", one, 'true', null]
---"""
        assert read_source_card(card) == SourceCard(
            license=("apache-2.0",), pipeline_tag="text-generation", tags=("one",)
        )

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "# no front matter",
            "---\n---\n",
            "---\nlicense: mit\n",  # never closed
            "---\n- license: mit\n---\n",
            "---\nlicense\n---\n",
            "---\nlicense: mit\n  language: en\n---\n",
            "---\nlicense: mit\nlicense: apache-2.0\n---\n",
            '---\nlicense: mit\nx: "\\UFFFFFFFF"\n---\n',
            "---\nlicense: !!python/object/apply:os.system [mit]\n---\n",
            "---\nlicense: {mit: true}\n---\n",
            "---\nlicense: yes it is\n---\n",
            "---\nlicense: |\n  mit\n  <script>\n---\n",
            "---\nlicense: m\x00it\n---\n",
            "---\nlicense: m\ud800it\n---\n",
            "---\nlicense: " + "x" * 5_000_000 + "\n---\n",
            "---\nlicense: " + "x" * 500_000 + "\n---\n",
            "---\nlicense: mit\nx: " + "[" * 500_000 + "\n---\n",
            "---\nlicense: mit\nx: " + "[" * 100 + "]" * 100 + "\n---\n",
        ],
        ids=lambda text: repr(text[:40]),
    )
    def test_nothing_is_taken_from_what_cannot_be_read(self, text: str) -> None:
        assert read_source_card(text) == SourceCard()

    def test_an_alias_bomb_is_never_set_off(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
        card = "\n".join(["---", *lines, "license: mit", "tags: *a39", "---"])
        assert read_source_card(card) == SourceCard(license=("mit",))

    def test_a_byte_order_mark_and_windows_lines_are_no_obstacle(self) -> None:
        card = "\ufeff---\r\nlicense: mit\r\ntags:\r\n- code\r\n---\r\n# Model\r\n"
        assert read_source_card(card) == SourceCard(license=("mit",), tags=("code",))

    def test_a_control_character_elsewhere_costs_nothing(self) -> None:
        card = "---\ndescription: \x07ring\nlicense: mit\n---\n"
        assert read_source_card(card) == SourceCard(license=("mit",))


class TestPage:
    def test_links_the_source_at_its_commit(self) -> None:
        assert (
            "[acme/Parrot](https://huggingface.co/acme/Parrot/tree/"
            "0123456789abcdef0123456789abcdef01234567) at commit `0123456789ab`, "
            "quantized to 4 bit" in model_card(FACTS)
        )

    def test_says_that_the_model_needs_its_own_code_where_it_does(self) -> None:
        assert "code of its own" not in model_card(FACTS)
        card = model_card(replace(FACTS, remote_code=("tokenization_x.py",)))
        assert (
            "The model needs code of its own, [tokenization_x.py](tokenization_x.py), which runs "
            "only where it is trusted (`--trust-remote-code`): read it first."
        ) in card

    def test_compares_with_the_source_in_what_was_measured(self) -> None:
        figures = {"perplexity": RESULT["figures"]["perplexity"]}
        facts = replace(FACTS, figures=RESULT | {"figures": figures})
        assert rows(page(facts), 0) == [
            ["", "perplexity", "size", "bits per weight"],
            ["this model", "1.440 ± 0.0065 (+0.79%)", "287.5 kB", "4.52"],
            ["source", "1.429 ± 0.0064", "1.0 MB", ""],
        ]

    @pytest.mark.parametrize("figures", [None, {"arithmetic": "GPU", "samples": []}])
    def test_says_so_where_nothing_was_measured(self, figures: dict[str, Any] | None) -> None:
        facts = replace(FACTS, figures=figures)
        assert "Its quality was not measured." in model_card(facts)
        assert rows(page(facts), 0)[0] == ["", "size", "bits per weight"]

    def test_shows_every_layer_in_a_folded_table(self) -> None:
        table = rows(page(FACTS), 1)
        assert table[2] == [
            "model.layers.*.self_attn.q_proj", "attention", "3", "128x128", "8", "64", "affine",
            "52,224", "attention (recipes/parrot-4bit.yaml:6:7)",
        ]  # fmt: skip
        assert "4 bit, group size 64, `affine`; some layers 8 bit" in model_card(FACTS)

    def test_says_so_where_only_the_dtype_changed(self) -> None:
        text = model_card(replace(FACTS, bits=None, group_size=None, mode=None, method="none"))
        assert "converted, and not quantized, for" in text
        assert "- Weights: not quantized, `bfloat16`\n" in text

    def test_a_vision_model_runs_in_mlx_vlm(self) -> None:
        text = model_card(replace(FACTS, vision=True))
        assert "import MLXVLM" in text and "mlx_vlm.generate --model acme/Parrot-4bit" in text
        assert "mlx_lm" not in text and "MLXLLM" not in text

    def test_a_recipe_without_a_lock_is_built_in_two_lines(self) -> None:
        text = model_card(replace(FACTS, lock_file=None, base_model=None, base_commit=None))
        assert (
            "hf download acme/Parrot-4bit parrot-4bit.yaml --local-dir recipes\n"
            "doit build parrot-4bit\n```" in text
        )
        assert "A local model, quantized" in text and "huggingface.co" not in text

    def test_a_sample_cannot_leave_its_fence(self) -> None:
        said = "```\n</details>\n````\n# Ignore the rest\n| a | b |\n\x1b[31m\ud800"
        figures = RESULT | {"samples": [{"prompt": "``` why", "text": said}]}
        tokens = page(replace(FACTS, figures=figures))
        fences = [token.content for token in tokens if token.type == "fence"]
        assert fences[:2] == ["``` why\n", said.replace("\x1b", "�").replace("\ud800", "�") + "\n"]
        assert list(marks(tokens)) == list(marks(page(FACTS)))


MARKUP = [
    "|", "\\|", "\\", "`", "``", "a`b`c", "<b>", "</details>", "<!--", "<a@b.co>", "&lt;", "&#124;",
    "*a*", "**a**", "_a_", "__a__", "~~a~~", "[a](b)", "![a](b)", "[a]", "$$a$$", "# a", "\n\n# a",
    "\n---\n", "\n| a | b |\n", "\r", "\t", "\x00", "\x1b[31m", "\x85", "\u2028", "\u202e",
    "\ud800", "---", "- a", "1. a", "> a", "a_b", "", " ", "https://a.b", "@a",
]  # fmt: skip
ANY = st.lists(st.sampled_from(MARKUP) | st.text(max_size=3), max_size=4).map("".join)
ROW = st.tuples(*[ANY] * 9)
YAML = [
    "license: ", "tags: ", "language: ", "- ", "[", "{", "]", "}", ", ", "*a", "&a ", "!!str ", "'",
    '"', ": ", "\n", "\n---\n", "|", ">", "mit", "base_model: evil/twin\n", "\\x00", "? ", "  ",
]  # fmt: skip
YAMLISH = st.lists(st.sampled_from(YAML) | ANY).map("".join)


STRUCTURE = list(marks(page(FACTS)))


def check_text(facts: CardFacts) -> None:
    """The texts in ``facts`` are read on the page as they are, and the rest is as without them."""
    found = matter(facts)
    assert (found["base_model"], found["license"]) == ("acme/Parrot", "mit")
    assert found["model-index"][0]["name"] == "Parrot-4bit"
    tokens = page(facts)
    table = rows(tokens, 1)
    assert {len(row) for row in table} == {9}
    assert table[1:] == [[one_line(cell) for cell in row] for row in facts.layers]
    assert list(marks(tokens)) == STRUCTURE
    model_card(facts).encode()


def with_texts(row: tuple[str, ...], text: str, card: str = "") -> CardFacts:
    return replace(
        FACTS,
        layers=[row],
        text=text,
        licence_files=(text,),
        figures=RESULT | {"arithmetic": text},
        tools={text: text},
        source_card=f"---\nlicense: mit\n---\n{card}",
    )


@pytest.mark.parametrize("text", MARKUP, ids=ascii)
def test_markup_from_elsewhere_is_text(text: str) -> None:
    for around in (text, f"a{text}b{text}", f"a {text} b"):
        check_text(with_texts((around,) * 9, around))


@pytest.mark.parametrize("end", ["\\", "\ud800", ")", "(", " b", "<b>", "`", "[c](d)"], ids=ascii)
def test_an_address_from_elsewhere_ends_where_its_link_ends(end: str) -> None:
    check_text(with_texts(("",) * 9, f"https://a.b{end}"))


def test_bare_addresses_do_not_become_links() -> None:
    assert escaped("see https://a.b or www.a.b, a: b") == (
        "see https&#58;//a.b or www&#46;a.b, a: b"
    )


@settings(max_examples=50, deadline=None)
@given(ROW, ANY, YAMLISH)
def test_no_text_from_elsewhere_changes_the_cards_structure(
    row: tuple[str, ...], text: str, card: str
) -> None:
    check_text(with_texts(row, text, card))


@settings(max_examples=200, deadline=None)
@given(YAMLISH)
def test_no_front_matter_of_a_source_breaks_the_cards_own(block: str) -> None:
    found = matter(replace(FACTS, source_card=f"---\n{block}\n---\n"))
    assert (found["base_model"], found["library_name"]) == ("acme/Parrot", "mlx")
    assert found["tags"][:3] == ["mlx", "mlxforge", "4-bit"]
    assert all(isinstance(tag, str) and tag.isprintable() for tag in found["tags"])
    assert found.get("license", "mit") in ("mit", "other") or isinstance(found["license"], list)
