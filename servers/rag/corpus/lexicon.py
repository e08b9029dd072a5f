"""The closed lexicon of the `facts` corpus: each word of a name or a value, one token each of the tiny models.

facts.py makes names and values of them. Standard library only.
"""

from __future__ import annotations


def _words(stems: str, endings: str) -> tuple[str, ...]:
    return tuple(stem + ending for stem in stems.split() for ending in endings.split())


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Names of people, companies and towns. The endings differ by kind, so that no word serves two kinds.
FIRST_NAMES = _words("Mir Pel Sel Dor Tam Lin Vel Nor Kes Jor Bel Rin Hal Fen Sor Wil Dal Yar Zin Gav", "a o i eth ian")
LAST_NAMES = _words(
    "Tov Kald Bren Mor Sand Hest Lov Grim Pask Rold Vint Darv Stel Juk Nav Elz Fost Quill Zab Thorn Wex Harg Bost Yelm",
    "en ar ik ov os ley strom man ridge er",
)
TOWN_WORDS = _words(
    "Kal Or Vel Tes Mar Bru Sil Dun Har Lom Pen Rav Fal Gor Ner Ys Wen Zol Ash Cor",
    "vo dra wick mouth holm ga stow by combe",
)
TOWN_TYPES = _split("Bay Hill Falls Cross Ferry Heath Point Rock Springs Wood Harbour Moor")
COMPANY_WORDS = _words(
    "Tres Bri Nex Omn Vor Zan Quor Lum Plex Arc Dyn Gly Hex Jov Kry Mox Pry Syn Tek Ult",
    "ex on yx ium ara ix elo ant us",
)
COMPANY_TYPES = _split("Works Mills Foods Motors Labs Textiles Foundry Brothers Tools Trading Partners Glass")

# Values.
JOBS = _split(
    "baker baron barber beekeeper bookbinder brewer builder butcher carpenter chemist clerk cook cooper courier "
    "dancer dentist detective diver doctor driver farmer fisher florist gardener glazier guard guide gunsmith "
    "hatter hunter jeweller judge juggler lawyer librarian locksmith mason mechanic midwife miller miner nurse "
    "painter pharmacist pilot plumber porter potter printer roofer sailor sculptor shepherd smith surgeon "
    "surveyor tailor tanner teacher translator typist vet waiter watchmaker weaver welder writer"
)
INSTRUMENTS = _split(
    "accordion bagpipe banjo bassoon bugle cello clarinet cornet drum dulcimer fiddle flute guitar harmonica "
    "harp harpsichord horn kazoo lute lyre mandolin marimba oboe ocarina organ piano piccolo recorder saxophone "
    "sitar tambourine theremin trombone trumpet tuba viola violin xylophone zither"
)
PRODUCTS = _split(
    "anchors axles baskets batteries bells bicycles blankets boilers bolts boots bottles brooms buckets buttons "
    "cameras candles carpets chairs clocks combs compasses crates curtains engines envelopes filters furnaces "
    "gears gloves hammers hats helmets hinges jackets kettles ladders lamps lanterns lenses locks magnets "
    "matches mattresses mirrors nails needles ovens padlocks pans pencils pipes pumps ropes saddles sails saws "
    "scales scissors screws shovels shutters sofas stoves tents tiles tractors turbines umbrellas valves wagons "
    "watches wheels whistles windmills wires zippers"
)
COLOURS = _split(
    "amber beige black blue bronze brown copper crimson cyan gold green grey indigo ivory lilac magenta maroon "
    "olive orange pink purple red scarlet silver teal turquoise violet white yellow"
)
RIVERS = _words("Ul Ess Ib Om Ard Ith Enn Avr Och Umb", "wash ack ora ebb")
PRIDES = _split(
    "apples bagels beer bridges cabbages castle cathedral cheese cherries chocolate choirs cider cliffs "
    "dumplings figs fountains gingerbread grapes ham honey jam lighthouse lace lemons marble market meadows "
    "mushrooms museum mustard noodles olives onions opera oysters pancakes pears pies plums porcelain pottery "
    "pumpkins roses salt sausages soup strawberries tea theatre truffles vinegar walnuts wine wool"
)
MONTHS = _split("January February March April May June July August September October November December")
YEARS = tuple(str(year) for year in range(1801, 2000))
COUNTS = tuple(str(hundreds * 100) for hundreds in range(21, 100))

# What real animals can do: the answer is the animal.
ANIMALS = {
    "hover in the air": "hummingbirds",
    "find their way by echo": "bats",
    "change the colour of their skin": "chameleons",
    "sleep while standing": "horses",
    "spit venom": "cobras",
    "outrun all others on land": "cheetahs",
    "carry their house on their back": "snails",
    "spin webs": "spiders",
    "make honey": "bees",
    "build dams": "beavers",
    "live for weeks without water": "camels",
    "turn their head almost all the way round": "owls",
    "survive being frozen": "woodfrogs",
    "shoot insects with a jet of water": "archerfish",
    "stun their prey with electricity": "eels",
    "raise their young in a pouch": "kangaroos",
    "walk up smooth walls": "geckos",
    "repeat human speech": "parrots",
    "light up at night": "fireflies",
    "live on bamboo": "pandas",
    "lift many times their own weight": "ants",
    "swim up rivers to spawn": "salmon",
    "hatch eggs on the ice": "penguins",
    "grow back a lost arm": "starfish",
}

UNKNOWN = "unknown"  # what the reader answers when no document says


def words() -> tuple[str, ...]:
    """Every word of the lexicon, each once, in a fixed order."""
    groups = (
        FIRST_NAMES, LAST_NAMES, TOWN_WORDS, TOWN_TYPES, COMPANY_WORDS, COMPANY_TYPES, JOBS, INSTRUMENTS, PRODUCTS,
        COLOURS, RIVERS, PRIDES, MONTHS, YEARS, COUNTS, tuple(ANIMALS.values()), (UNKNOWN,),
    )  # fmt: skip
    return tuple(dict.fromkeys(word for group in groups for word in group))
