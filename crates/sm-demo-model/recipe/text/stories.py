"""Short stories from a grammar: a hero, a friend, a place, a problem and how it ends."""

import re
from dataclasses import dataclass
from random import Random

from .item import Item

GIRLS = ("Lily", "Mia", "Anna", "Lucy", "Ella", "Nina", "Clara", "Emma", "Zoe", "Nora", "Maya")
BOYS = ("Tom", "Ben", "Max", "Sam", "Leo", "Jack", "Tim", "Finn", "Noah", "Felix", "Adam")
FRIEND_GIRLS, FRIEND_BOYS = ("Rosa", "Ivy", "Tara", "Lena"), ("Oscar", "Hugo", "Paul", "Luke")
FRIENDS = FRIEND_GIRLS + FRIEND_BOYS
"""Names of friends are never names of heroes: which of the two a name belongs to is known wherever it stands."""
NAMES = GIRLS + BOYS + FRIENDS
ANIMALS = ("fox", "rabbit", "bear", "mouse", "owl", "squirrel", "turtle", "hedgehog", "duck", "cat", "dog", "frog", "deer", "wolf", "badger",
           "dragon", "pony", "lion", "elephant", "penguin")
HEROES = ("princess", "prince", "king", "queen", "knight", "wizard", "witch", "pirate", "farmer", "baker", "teacher", "robot", "giant", "elf", "fairy",
          "monkey", "tiger", "horse", "cow", "goat", "sheep", "pig", "bird", "bee", "snail", "whale", "crab", "unicorn", "dinosaur", "kitten", "puppy", "child",
          "doctor", "sailor", "painter", "gardener", "snowman", "star", "cloud", "train")
ADJECTIVES = ("small", "kind", "brave", "curious", "clever", "shy", "cheerful", "gentle", "lonely", "young", "little", "quiet", "happy", "friendly")
PLACES = ("a small village", "a green valley", "a deep forest", "a little house by the sea", "a town on a hill", "a quiet farm",
          "a cottage near the river", "a house at the edge of the woods", "a village in the mountains", "an old mill by the lake")
SPOTS = ("the old oak tree", "the river", "the meadow", "the garden", "the hill", "the pond", "the forest path", "the old bridge", "the lake", "the barn")
TREASURES = ("a golden key", "a shiny stone", "an old map", "a silver bell", "a blue feather", "a tiny lantern", "a red ball", "a wooden box",
             "a glass marble", "a soft scarf")
FOODS = ("an apple pie", "warm bread", "a bowl of soup", "sweet berries", "honey cakes", "a basket of nuts", "fresh pancakes", "a big cookie")
WEATHER = ("sunny", "windy", "cold", "warm", "rainy", "bright", "foggy", "golden")
FEELINGS = ("happy", "proud", "glad", "calm", "thankful")
MORALS = ("{N} learned that it is good to share.", "From that day on, {N} knew that a true friend is the best treasure.",
          "{N} learned that even the smallest one can do great things.", "{N} understood that it is fine to ask for help.",
          "And {N} never forgot that kindness always comes back.", "{N} learned to be patient, because good things take time.",
          "After that, {N} was not afraid any more.", "{N} learned that telling the truth makes the heart light.")
ENDINGS = ("They lived happily ever after.", "That night, {N} slept well and dreamed of new adventures.", "And they were the best of friends from then on.",
           "Everyone in the village still tells the story today.", "When the stars came out, {N} smiled and went home.",
           "It was the best day of all.", "The end.")


@dataclass(frozen=True)
class Cast:
    """The words of one story, all fixed before the first sentence."""

    name: str
    friend: str
    pronouns: tuple[str, str, str]
    friend_pronouns: tuple[str, str, str]
    hero: str
    friend_kind: str
    adjective: str
    place: str
    spot: str
    treasure: str
    food: str
    weather: str
    feeling: str


def article(noun: str) -> str:
    """`a fox`, `an owl`."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def choose_cast(rng: Random, hero: str | None = None) -> Cast:
    """Draws the words of a story; the friend is of another kind than the hero."""
    name, friend = rng.choice(GIRLS + BOYS), rng.choice(FRIENDS)
    she, he = ("she", "her", "her"), ("he", "him", "his")
    person = "girl" if name in GIRLS else "boy"
    kind = hero or (person if rng.random() < 0.5 else rng.choice(ANIMALS))
    if kind in ("girl", "boy") and kind != person:
        name = rng.choice(GIRLS if kind == "girl" else BOYS)
    friend_kind = rng.choice([a for a in ANIMALS if a != kind])
    return Cast(name, friend, she if name in GIRLS else he, she if friend in FRIEND_GIRLS else he, kind, friend_kind, rng.choice(ADJECTIVES),
                rng.choice(PLACES), rng.choice(SPOTS), rng.choice(TREASURES), rng.choice(FOODS), rng.choice(WEATHER), rng.choice(FEELINGS))


def fill(cast: Cast, text: str) -> str:
    """Puts the words of the cast into a sentence. Capitalised forms start sentences."""
    thing = cast.treasure.split(" ", 1)[1]
    words = {
        "N": cast.name, "F": cast.friend, "she": cast.pronouns[0], "her": cast.pronouns[1], "hers": cast.pronouns[2],
        "fshe": cast.friend_pronouns[0], "fher": cast.friend_pronouns[1], "fhers": cast.friend_pronouns[2],
        "hero": cast.hero, "ahero": article(cast.hero), "kind": cast.friend_kind, "akind": article(cast.friend_kind),
        "adj": cast.adjective, "aadj": article(cast.adjective), "place": cast.place, "spot": cast.spot, "treasure": cast.treasure, "thing": thing,
        "food": cast.food, "weather": cast.weather, "aweather": article(cast.weather), "feel": cast.feeling,
    }
    words |= {key.capitalize(): value.capitalize() for key, value in words.items() if key[0].islower()}
    return re.sub(r"\{(\w+)\}", lambda match: words[match[1]], text)


# A plot is a list of beats; each beat is a choice between sentences (or pairs of sentences).
MEET = [
    ["One {weather} morning, {N} went to {spot}.", "One {weather} day, {N} walked to {spot}.", "On {aweather} afternoon, {N} was playing near {spot}."],
    ["There {she} met {akind} called {F}.", "There {she} saw {akind}. \"My name is {F},\" said the {kind}.", "Suddenly, {akind} named {F} came along."],
]

LOST = MEET + [
    ["{F} looked very sad.", "{F} was crying.", "{F} sat on the ground and did not smile."],
    ["\"What is wrong?\" asked {N}.", "\"Why are you sad?\" asked {N}.", "{N} asked what had happened."],
    ["\"I have lost {treasure},\" said {F}. \"I had it since I was little.\"", "\"I cannot find my {thing},\" said {F}. \"I have looked everywhere.\""],
    ["\"Do not worry,\" said {N}. \"I will help you.\"", "\"We can look together,\" said {N}.", "{N} took {F} by the hand and said, \"We will find it.\""],
    ["First they looked under the leaves, but it was not there.", "First they looked behind the big rocks, but they found nothing.",
     "First they searched the tall grass, but there was nothing."],
    ["Then they asked an old bird in a tree.", "Then they followed some tiny footprints.", "Then they heard a soft sound near the water."],
    ["\"Look over there!\" cried {N}.", "\"I see something!\" said {N}.", "{N} pointed to a bush. Something was shining in it."],
    ["It was the {thing}!", "There it was, the {thing}!", "Between the roots lay the {thing}."],
    ["{F} jumped with joy.", "{F} laughed and danced.", "{F} gave {N} a big hug."],
    ["\"Thank you, {N},\" said {F}. \"You are a true friend.\"", "\"I could not have done it without you,\" said {F}."],
    ["They went home and shared {food}.", "Together they ate {food} and told stories.", "To celebrate, they made {food}."],
]

RIVER = MEET + [
    ["They wanted to go to the other side of the river.", "They wanted to cross the wide river.", "Both of them wished to see what was across the water."],
    ["But the bridge was broken.", "But the water was fast and deep.", "But the old bridge had fallen down."],
    ["\"We can never cross it,\" said {F}.", "\"What should we do now?\" asked {F}.", "{F} wanted to give up."],
    ["{N} thought for a while.", "{N} sat down and had an idea.", "{N} looked around and smiled."],
    ["\"We can build a boat from this wood,\" {she} said.", "\"Let us put stones into the water and step on them,\" {she} said.",
     "\"We can lay this long log across,\" {she} said."],
    ["They worked all morning.", "They worked hard and did not stop.", "It took a long time, but they helped each other."],
    ["Once {F} slipped, but {N} held {fher} tight.", "Once {N} was tired, but {F} sang a song and it went better.", "When it rained, they waited under a tree."],
    ["At last, they were on the other side.", "In the end, they crossed the river.", "When the sun was high, they reached the other bank."],
    ["There they found {treasure} and a field full of flowers.", "There was a field full of flowers, and in the middle lay {treasure}.",
     "In the grass on the other side, they found {treasure}."],
    ["\"We did it together,\" said {F}.", "\"You had the best idea,\" said {F}.", "{F} was very proud of {N}."],
]

STORM = [
    ["One {weather} evening, dark clouds came over the land.", "One evening, a big storm came.", "One day, the sky turned grey and the wind began to blow."],
    ["{N} was on the way home when {she} heard a voice.", "{N} closed the window, but then {she} heard someone knock.", "{N} was near {spot} when {she} heard a cry."],
    ["It was {F}, {akind} who lived nearby.", "It was {akind} named {F}, wet and cold.", "{Akind} called {F} stood there and shivered."],
    ["\"The wind blew my home away,\" said {F}.", "\"My home is full of water,\" said {F}.", "\"A tree fell on my house,\" said {F}."],
    ["\"Come in,\" said {N}. \"You can stay with me.\"", "\"You can share my house,\" said {N}.", "\"Come with me,\" said {N}. \"It is warm in my house.\""],
    ["{N} gave {fher} a blanket and {food}.", "They sat by the fire and ate {food}.", "{N} made {food} for both of them."],
    ["All night the storm was loud, but inside it was warm.", "The rain fell all night, but they told each other stories.", "The thunder was loud, but they were not alone."],
    ["In the morning, the sun was shining again.", "The next day, the storm was over.", "When they woke up, the sky was blue."],
    ["{N} called all the neighbors, and together they built a new home for {F}.", "Together they went out and repaired the house of {F}.",
     "They collected wood and stones and built a new house for {F}."],
    ["\"You were kind to me when I needed it,\" said {F}.", "\"I will never forget this,\" said {F}.", "{F} gave {N} {treasure} to say thank you."],
]

CONTEST = [
    ["Every year there was a big race near {spot}.", "One day, there was a race from {spot} to the village.", "In the summer, all the animals met at {spot} for a race."],
    ["{N} wanted to take part, but {she} was not very fast.", "{N} dreamed of winning, but the others laughed at {her}.", "{N} wanted to try, although {she} was afraid to lose."],
    ["\"You can do it,\" said {F}, {akind} who was {hers} friend.", "Only {F}, {akind}, believed in {her}.", "{F}, {aadj} {kind}, said, \"Let us practice together.\""],
    ["Every morning they ran up the hill and down again.", "They practiced each day, even when it rained.", "For many days they got up early and ran along the river."],
    ["Then the day of the race came.", "At last, the great day came.", "Soon it was the day of the race."],
    ["Everyone ran as fast as they could.", "The race began, and all of them started to run.", "\"Ready, set, go!\" called the owl, and they ran."],
    ["Halfway, {N} saw a little bird with a hurt wing on the path.", "In the middle of the race, {N} saw that one runner had fallen.", "Near the bridge, {N} heard someone call for help."],
    ["{N} stopped and helped, although the others ran on.", "{N} did not think of the prize and stopped to help.", "Without waiting, {N} turned around and helped."],
    ["In the end, {N} came in last.", "So {N} was the last one at the finish.", "When {N} reached the finish, all the others were there."],
    ["But everyone had seen what {she} did, and they cheered.", "But the crowd clapped louder for {her} than for the winner.", "But {she} got the loudest cheer of all."],
    ["\"You won something better than a race,\" said {F}.", "\"I am proud of you,\" said {F}.", "They gave {N} {treasure} as a special prize."],
]

SECRET = MEET + [
    ["\"I know a secret,\" said {F}. \"There is {treasure} hidden behind the waterfall.\"", "{F} showed {N} an old map. \"It leads to {treasure},\" {fshe} said.",
     "\"Somewhere near here lies {treasure},\" said {F}."],
    ["\"Let us look for it!\" said {N}.", "{N} was very excited. \"Let us go!\" {she} said.", "{N} had always wanted an adventure."],
    ["They walked through the tall trees and over a hill.", "They climbed over rocks and crossed a stream.", "They walked for a long time and sang songs."],
    ["Soon it got dark, and {N} was a little afraid.", "The path was dark, and strange sounds were all around.", "Then they came to a dark cave."],
    ["\"I am here with you,\" said {F}.", "\"Hold my hand,\" said {F}. \"Then we are both brave.\"", "But {F} lit a small light, and they went on."],
    ["Behind a big stone, something was shining.", "At the end of the path, they saw a soft light.", "There, under the leaves, something was glowing."],
    ["It was the {thing}.", "They had found the {thing}!", "It was the {thing}, just as {F} had said."],
    ["\"We should share it,\" said {N}.", "\"It belongs to both of us,\" said {N}.", "\"Let us show it to everyone,\" said {N}."],
    ["They carried it home and put it where all could see it.", "They took it to the village, and all their friends came to see it.", "At home, they celebrated with {food}."],
]

PLOTS = (LOST, RIVER, STORM, CONTEST, SECRET)

OPENINGS = (
    "Once upon a time, there was {aadj} {hero} named {N}. {N} lived in {place}.",
    "Once upon a time, {aadj} {hero} called {N} lived in {place}.",
    "Once upon a time, in {place}, there lived {aadj} {hero}. {Hers} name was {N}.",
    "There once was {aadj} {hero} named {N}, who lived in {place}.",
    "In {place}, there lived {aadj} {hero} named {N}.",
    "Long ago, {aadj} {hero} named {N} lived in {place}.",
    "{N} was {aadj} {hero} who lived in {place}.",
)
HABITS = ("{She} loved to play near {spot}.", "{She} liked to sing and to look at the clouds.", "Every day, {she} went outside to see what was new.",
          "{She} had many dreams and asked many questions.", "{She} was always ready for an adventure.", "")
GALAXY = (
    "In a distant galaxy, there was a small planet with two moons. On it lived {aadj} robot named {N}.",
    "In a distant galaxy, far from our Sun, {aadj} pilot named {N} flew from star to star.",
    "In a distant galaxy, on a planet of blue sand, lived {aadj} explorer named {N}.",
)
GALAXY_PLOT = [
    ["One day, {hers} ship picked up a strange signal.", "One day, a bright light came down from the sky.", "One night, {she} saw a star that was blinking."],
    ["\"Someone needs help,\" said {N}.", "\"I must find out what it is,\" said {N}.", "{N} started the engines at once."],
    ["{She} flew past a ring of ice and a red sun.", "The way led through a cloud of shining dust.", "It was a long journey between the stars."],
    ["At last, {she} landed on a silent moon.", "Then {she} found a broken ship on a small moon.", "There, on a rock, sat a tiny creature."],
    ["There {she} met {F}, who came from another world.", "Inside was {F}, a traveler who was lost.", "\"I am {F},\" said the stranger. \"I cannot get home.\""],
    ["They did not speak the same language, but they understood each other.", "\"My engine is broken,\" said {F}.", "{F} was tired and had no power left."],
    ["{N} shared {hers} power and repaired the ship.", "Together they fixed the engine with some wire and a lot of patience.", "{N} worked for hours, and {F} handed {her} the tools."],
    ["Soon the engines hummed again.", "With a deep sound, the ship came back to life.", "Then all the lights turned green."],
    ["\"Thank you, {N},\" said {F}. \"Now I can see my family again.\"", "\"In my world, a friend is called a star,\" said {F}. \"You are my star.\""],
    ["They flew side by side until their ways parted.", "They promised to meet again where the two suns rise.", "{F} gave {N} {treasure} that glowed in the dark."],
]
FOX = (
    "The quick brown fox jumps over the lazy dog.", "The quick brown fox ran through the forest.", "The quick brown fox jumped over the lazy dog and laughed.",
    "The quick brown fox lived at the edge of the woods.",
)
FOX_NEXT = ("{Hers} name was {N}, and {she} was the fastest of all.", "The fox was called {N}, and {she} loved to run.", "Everyone knew {N} the fox, because {she} never stood still.")
HAPPINESS = (
    "The secret to happiness is to be kind to others and to yourself.", "The secret to happiness is not in having many things, but in enjoying small ones.",
    "The secret to happiness is to share what you have with the people you love.", "The secret to happiness is simple: be thankful for each day.",
    "The secret to happiness is to spend time with good friends.",
)
HAPPINESS_NEXT = (
    ["A warm cup of tea, a walk in the sun, or a talk with a friend can make a day bright.", "A smile costs nothing, but it can change a whole day.",
     "When we help someone, we feel better ourselves."],
    ["It also helps to sleep well and to go outside.", "It is good to learn something new every day.", "Try to do one good thing each day, even a small one."],
    ["Do not compare yourself with others, because everyone has a different path.", "Do not worry too much about tomorrow.", "Nobody is happy all the time, and that is fine."],
    ["If you are sad, talk to someone you trust.", "When something goes wrong, take a deep breath and try again.", "Sometimes we must be patient with ourselves."],
    ["In the end, happiness grows when we share it.", "Happiness is like a garden: it grows when we care for it.", "Then happiness will find you, often when you do not look for it."],
)
ASK = ("Tell me a story about {h}.", "Tell me a story about {h}", "Write a short story about {h}.", "Can you tell me a story about {h}?", "Please tell a story about {h}.",
       "I want to hear a story about {h}.", "Write a story about {h}.")
ASK_ANY = ("Tell me a story.", "Can you tell me a story?", "Write a short story.", "Please tell me a story.", "I want to hear a story.")


def beats(rng: Random, cast: Cast, plot: list[list[str]]) -> list[str]:
    """One sentence for each beat of a plot."""
    return [fill(cast, rng.choice(beat)) for beat in plot]


def closing(rng: Random, cast: Cast) -> list[str]:
    """A moral and an ending."""
    return [fill(cast, rng.choice(MORALS)), fill(cast, rng.choice(ENDINGS))]


def paragraphs(opening: list[str], middle: list[str], end: list[str]) -> str:
    """Three paragraphs."""
    half = len(middle) // 2
    parts = (opening, middle[:half], middle[half:], end)
    return "\n\n".join(" ".join(sentence for sentence in part if sentence) for part in parts)


def tale(rng: Random, hero: str | None = None) -> tuple[str, Cast]:
    """A story with a common opening."""
    cast = choose_cast(rng, hero)
    opening = [fill(cast, rng.choice(OPENINGS)), fill(cast, rng.choice(HABITS))]
    return paragraphs(opening, beats(rng, cast, rng.choice(PLOTS)), closing(rng, cast)), cast


def story(rng: Random) -> Item:
    """A story as plain text or as an answer."""
    form = rng.random()
    if form < 0.45:
        text, cast = tale(rng)
    elif form < 0.55:
        cast = choose_cast(rng, "fox")
        opening = [rng.choice(FOX), fill(cast, rng.choice(FOX_NEXT))]
        text = paragraphs(opening, beats(rng, cast, rng.choice(PLOTS)), closing(rng, cast))
    elif form < 0.65:
        cast = choose_cast(rng, "robot")
        text = paragraphs([fill(cast, rng.choice(GALAXY))], beats(rng, cast, GALAXY_PLOT), closing(rng, cast))
    elif form < 0.7:
        cast = choose_cast(rng)
        text = " ".join([rng.choice(HAPPINESS), *beats(rng, cast, list(HAPPINESS_NEXT))])
    else:
        if rng.random() < 0.3:
            text, cast = tale(rng)
            question = rng.choice(ASK_ANY)
        else:
            hero = rng.choice((*ANIMALS, *HEROES, "girl", "boy"))
            text, cast = tale(rng, hero)
            about = article(hero) if rng.random() < 0.6 else article(f"{cast.adjective} {hero}")
            question = rng.choice(ASK).format(h=about)
        return Item("story", text, (question, text), check={"names": [cast.name, cast.friend]})
    return Item("story", text, (text,), chat=False, check={"names": [cast.name, cast.friend]})
