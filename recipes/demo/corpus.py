"""A small made-up world, told as stories and chats: the text that the demo model learns.

Everything here is written for this project. The world is fixed (who lives where, which
animal makes which sound, sums); what is told about it is drawn from a seeded generator,
so any amount of text can be made again byte for byte:

    python recipes/demo/corpus.py --held-out      # rewrites heldout.txt
    python recipes/demo/corpus.py --sample 20     # prints 20 training documents

A document is one story or one chat of a few turns. Both end in END, and a chat has the form
that the model's chat template renders: ``<|user|>question<|assistant|>answer<|end|>``.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
MOST_TURNS = 4
HELD_OUT_SEED, HELD_OUT_CHARACTERS, HELD_OUT_SHORTEST = 2, 100_000, 160
HELD_OUT_FILE = Path(__file__).with_name("heldout.txt")

_TABLES = """
girls: Mia Ada Ruth Nora Ivy Clara Elsa June Tess Wren Lucy Hope Fay Dora Rose Vera Kate Lena
boys: Ben Tom Otto Hugo Sam Leo Finn Max Carl Jack Paul Noah Ned Ralph Gus Will Adam Eric
towns: Ashford Millbrook Stonegate Redhill Foxley Larkdale Harbury Seaton
jobs: baker farmer teacher doctor painter sailor miller tailor
pets: dog cat goat hen duck horse rabbit parrot
sounds: barks meows bleats clucks quacks neighs squeaks talks
pet_names: Pip Dusty Bramble Coco Biscuit Smoky Button Pepper Fig Mossy Star Tiger
colours: red blue green yellow white black brown purple
foods: soup bread cheese rice plums cake fish beans
days: Monday Tuesday Wednesday Thursday Friday Saturday Sunday
things: ball key cup lamp book coin hat rope bell map spoon box
goods: apples eggs nuts shells stones buttons candles pears
in: drawer basket barn garden chest
on: table shelf roof
under: bed bridge
behind: door mill
opposites: hot/cold big/small up/down day/night wet/dry old/new fast/slow open/shut full/empty
more: hard/soft long/short light/dark early/late loud/quiet young/aged high/low rich/poor
ones: zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
teens: fifteen sixteen seventeen eighteen nineteen
tens: twenty thirty forty fifty sixty seventy eighty ninety
"""
_WORDS = {
    name: row.split() for name, row in (line.split(":") for line in _TABLES.strip().splitlines())
}
TOWNS = _WORDS["towns"]  # along one river, west to east
PETS, DAYS, THINGS = _WORDS["pets"], _WORDS["days"], _WORDS["things"]
SOUNDS = dict(zip(PETS, _WORDS["sounds"], strict=True))
SPOTS = [f"{at} the {spot}" for at in ("in", "on", "under", "behind") for spot in _WORDS[at]]
OPPOSITES = [pair.split("/") for pair in _WORDS["opposites"] + _WORDS["more"]]
ONES, TENS = _WORDS["ones"] + _WORDS["teens"], _WORDS["tens"]
# What is made, what is needed for it, and where that is got.
MAKING = [
    ("a cake", "flour and eggs", "the mill"),
    ("a kite", "paper and string", "the school"),
    ("a fire", "dry wood", "the forest"),
    ("soup", "beans and water", "the well"),
    ("a boat", "planks and nails", "the harbour"),
    ("a coat", "wool and thread", "the farm"),
    ("a fence", "posts and wire", "the yard"),
    ("tea", "mint and honey", "the garden"),
]
WEATHER = [
    ("it rained", "the road was wet", "wore boots"),
    ("it snowed", "the hill was white", "built a snowman"),
    ("the sun shone", "the grass was dry", "sat under a tree"),
    ("the wind blew", "the leaves fell", "flew a kite"),
    ("there was fog", "nobody saw the bridge", "carried a lamp"),
    ("there was ice", "the pond was hard", "went skating"),
]


@dataclass(frozen=True)
class Person:
    """Someone in the world; every story and every answer keeps to these facts."""

    name: str
    pronoun: str
    town: str
    job: str
    pet: str
    pet_name: str
    colour: str
    food: str


def _people() -> list[Person]:
    fate = random.Random("world")
    facts = [_WORDS[kind] for kind in ("towns", "jobs", "pets", "pet_names", "colours", "foods")]
    named = [(name, "she") for name in _WORDS["girls"]] + [(name, "he") for name in _WORDS["boys"]]
    return [Person(*who, *(fate.choice(fact) for fact in facts)) for who in named]


PEOPLE = _people()


def words(number: int) -> str:
    """``number`` from 0 to 99 in words: 42 is ``forty-two``."""
    if number < 20:
        return ONES[number]
    return TENS[number // 10 - 2] + (f"-{ONES[number % 10]}" if number % 10 else "")


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


# Stories


def _portrait(rng: random.Random) -> str:
    who = rng.choice(PEOPLE)
    she = who.pronoun.capitalize()
    facts = [
        f"{she} lives in {who.town}.",
        f"{she} works as a {who.job}.",
        f"{she} has a {who.pet} called {who.pet_name}. The {who.pet} {SOUNDS[who.pet]}.",
        f"{she} likes the colour {who.colour}.",
        f"{she} likes to eat {who.food}.",
    ]
    rng.shuffle(facts)
    return f"This is {who.name}. {' '.join(facts)}"


def _hiding(rng: random.Random) -> str:
    who, friend = rng.sample(PEOPLE, 2)
    first, second = rng.sample(THINGS, 2)
    here, there, last = rng.sample(SPOTS, 3)
    text = f"{who.name} put the {first} {here} and the {second} {there}. "
    if rng.random() < 0.5:
        text += f"Then {who.pet_name} the {who.pet} moved the {first}. Now it was {last}. "
        here = last
    return text + (
        f"{friend.name} came from {friend.town} and looked for the {first}. It was {here}. "
        f"Then {friend.pronoun} looked for the {second}. It was {there}."
    )


def _market(rng: random.Random) -> str:
    who, friend = rng.sample(PEOPLE, 2)
    goods, have, more = rng.choice(_WORDS["goods"]), rng.randint(1, 10), rng.randint(1, 10)
    less = rng.randint(1, have + more)
    return (
        f"{who.name} the {who.job} had {words(have)} {goods}. {friend.name} gave "
        f"{'her' if who.pronoun == 'she' else 'him'} {words(more)} more. "
        f"Now {who.pronoun} had {words(have + more)} {goods}. {who.pronoun.capitalize()} sold "
        f"{words(less)} in {who.town}. Then {who.pronoun} had {words(have + more - less)} left."
    )


def _making(rng: random.Random) -> str:
    who = rng.choice(PEOPLE)
    thing, needs, place = rng.choice(MAKING)
    day = rng.randrange(7)
    she = who.pronoun
    return (
        f"On {DAYS[day]} {who.name} wanted to make {thing}. {she.capitalize()} needed {needs}, "
        f"so {she} went to {place}. {who.pet_name} the {who.pet} came too. On "
        f"{DAYS[(day + 1) % 7]} {she} made {thing}. {she.capitalize()} painted a sign for it, "
        f"and the sign was {who.colour}."
    )


def _weather(rng: random.Random) -> str:
    day, lines = rng.randrange(7), []
    for weather, effect, act in rng.sample(WEATHER, 3):
        lines.append(
            f"On {DAYS[day % 7]} {weather}, so {effect} and {rng.choice(PEOPLE).name} {act}."
        )
        day += 1
    return " ".join(lines)


def _journey(rng: random.Random) -> str:
    who, friend = rng.choice(PEOPLE), rng.choice(PEOPLE)
    start, goal = TOWNS.index(who.town), TOWNS.index(friend.town)
    if start == goal:
        return f"{who.name} walked to see {friend.name}. Both live in {who.town}, so it was near."
    way, step = ("east", 1) if start < goal else ("west", -1)
    stops = TOWNS[start + step : goal : step] if step > 0 else TOWNS[goal + 1 : start][::-1]
    passed = f"{who.pronoun.capitalize()} passed {_listed(stops)}. " if stops else ""
    return (
        f"{who.name} went from {who.town} to {friend.town} to see {friend.name}. {passed}"
        f"It was {words(abs(goal - start))} {'day' if abs(goal - start) == 1 else 'days'} {way} "
        f"along the river. There they ate {friend.food}."
    )


def _gifts(rng: random.Random) -> str:
    chain = rng.sample(PEOPLE, rng.randint(3, 5))
    thing = rng.choice(THINGS)
    text = f"{chain[0].name} had a {rng.choice(_WORDS['colours'])} {thing}. "
    for giver, taker in pairwise(chain):
        text += f"{giver.name} gave the {thing} to {taker.name} the {taker.job}. "
    back = " ".join(f"{who.name} gave it back." for who in chain[:0:-1])
    return f"{text}{back} So {chain[0].name} had the {thing} again."


# Questions; each gives (question, answer).


def _ask_person(rng: random.Random) -> tuple[str, str]:
    who = rng.choice(PEOPLE)
    return rng.choice(
        [
            (f"Where does {who.name} live?", f"{who.name} lives in {who.town}."),
            (f"What is {who.name}'s job?", f"{who.name} is a {who.job}."),
            (f"What pet does {who.name} have?", f"{who.name} has a {who.pet}."),
            (f"What is {who.name}'s pet called?", f"The {who.pet} is called {who.pet_name}."),
            (f"What colour does {who.name} like?", f"{who.name} likes {who.colour}."),
            (f"What does {who.name} like to eat?", f"{who.name} likes to eat {who.food}."),
        ]
    )


def _ask_sum(rng: random.Random) -> tuple[str, str]:
    a, b, big = rng.randint(0, 10), rng.randint(0, 10), rng.randint(11, 89)
    left, sign, right, result = rng.choice(
        [
            (a, "plus", b, a + b),
            (a + b, "minus", a, b),
            (big, "plus", b, big + b),
            (min(a, 9), "times", min(b, 9), min(a, 9) * min(b, 9)),
        ]
    )
    asked = f"{words(left)} {sign} {words(right)}"
    return f"What is {asked}?", f"{asked.capitalize()} is {words(result)}."


def _ask_count(rng: random.Random) -> tuple[str, str]:
    start, length = rng.randint(0, 90), rng.randint(3, 7)
    row = [words(n) for n in range(start, start + length)]
    if rng.random() < 0.3:
        row.reverse()
    return f"Count from {row[0]} to {row[-1]}.", f"{', '.join(row).capitalize()}."


def _ask_world(rng: random.Random) -> tuple[str, str]:
    pet, day, town = rng.choice(PETS), rng.randrange(7), rng.randrange(len(TOWNS) - 1)
    one, other = rng.sample(rng.choice(OPPOSITES), 2)
    thing, needs, place = rng.choice(MAKING)
    west, east = TOWNS[town : town + 2]
    return rng.choice(
        [
            (f"What does a {pet} do?", f"A {pet} {SOUNDS[pet]}."),
            (f"Which day comes after {DAYS[day]}?", f"{DAYS[(day + 1) % 7]}."),
            (f"Which day comes before {DAYS[day]}?", f"{DAYS[day - 1]}."),
            (f"What is the opposite of {one}?", f"The opposite of {one} is {other}."),
            (f"What do you need for {thing}?", f"You need {needs} from {place}."),
            (f"Which town lies east of {west}?", f"{east} lies east of {west}."),
            (f"Which town lies west of {east}?", f"{west} lies west of {east}."),
        ]
    )


def _ask_words(rng: random.Random) -> tuple[str, str]:
    row = rng.sample(THINGS + PETS, rng.randint(2, 5))
    word = rng.choice(THINGS + PETS + _WORDS["colours"] + _WORDS["foods"] + _WORDS["jobs"])
    two = rng.sample(range(90), 2)
    (one, other), most = map(words, two), max(two)
    return rng.choice(
        [
            (f"Say it backwards: {', '.join(row)}.", f"{', '.join(row[::-1]).capitalize()}."),
            (f"Spell {word}.", f"{word.capitalize()} is spelled {', '.join(word)}."),
            (f"Which is more, {one} or {other}?", f"{words(most).capitalize()} is more."),
        ]
    )


def _ask_story(rng: random.Random) -> tuple[str, str]:
    things = rng.sample(THINGS, 3)
    spots = dict(zip(things, rng.sample(SPOTS, 3), strict=True))
    asked = rng.choice(things)
    told = " ".join(f"The {thing} is {spot}." for thing, spot in spots.items())
    return f"{told} Where is the {asked}?", f"The {asked} is {spots[asked]}."


STORIES = [_portrait, _hiding, _market, _making, _weather, _journey, _gifts]
QUESTIONS: list[Callable[[random.Random], tuple[str, str]]] = [
    _ask_person,
    _ask_person,
    _ask_sum,
    _ask_sum,
    _ask_count,
    _ask_world,
    _ask_words,
    _ask_story,
]


def document(rng: random.Random) -> str:
    """One story, or one chat of up to MOST_TURNS turns, ending in END and a line break."""
    if rng.random() < 0.5:
        return f"{rng.choice(STORIES)(rng)}{END}\n"
    turns = (rng.choice(QUESTIONS)(rng) for _ in range(rng.randint(1, MOST_TURNS)))
    return "".join(f"{USER}{question}{ASSISTANT}{answer}{END}\n" for question, answer in turns)


def held_out() -> list[str]:
    """The held-out documents: all different, none short enough to be told twice by chance."""
    rng, size = random.Random(HELD_OUT_SEED), 0
    found: dict[str, None] = {}
    while size < HELD_OUT_CHARACTERS:
        text = document(rng)
        if len(text) >= HELD_OUT_SHORTEST and text not in found:
            found[text] = None
            size += len(text)
    return list(found)


def training(seed: int) -> Iterator[str]:
    """Training documents without end; no held-out document occurs in their joined text."""
    rng, kept_away = random.Random(f"training {seed}"), set(held_out())
    before: list[str] = []
    while True:
        lines = before + document(rng).splitlines(keepends=True)
        # Neighbouring chats may add up to a held-out one: look at every run of up to MOST_TURNS.
        ends = range(1, len(lines) + 1)
        runs = ("".join(lines[i:j]) for j in ends for i in range(max(0, j - MOST_TURNS), j))
        if kept_away.isdisjoint(runs):
            yield "".join(lines[len(before) :])
            before = lines[1 - MOST_TURNS :]


def main() -> None:
    parser = argparse.ArgumentParser(description="Print or rewrite the demo model's text.")
    parser.add_argument("--held-out", action="store_true", help="rewrite heldout.txt")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="print N documents")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training text")
    args = parser.parse_args()
    if args.held_out:
        HELD_OUT_FILE.write_bytes("".join(held_out()).encode())
    for _, text in zip(range(args.sample), training(args.seed), strict=False):
        print(text, end="")


if __name__ == "__main__":
    main()
