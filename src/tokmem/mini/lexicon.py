"""The generators' word lists: small and closed, so that a small model can learn every word."""

from __future__ import annotations

ANIMALS = tuple(
    """cat dog horse cow sheep goat pig duck hen goose fox wolf bear lion tiger zebra camel deer mouse rat
rabbit frog toad snake eagle owl crow swan whale shark seal crab ant bee spider monkey panda koala otter badger""".split()
)

FOODS = tuple(
    """apple banana cherry grape lemon lime mango melon olive onion orange peach pear plum potato tomato carrot
bread butter cheese honey soup rice pasta salad pizza cake cookie sugar salt pepper coffee tea milk juice water bean corn""".split()
)

THINGS = tuple(
    """lamp chair table desk bed sofa shelf door window wall floor roof key lock box bag cup plate bowl spoon fork
knife pan pot clock watch phone radio camera book pen paper letter card map ticket coin ring hat coat shirt shoe sock glove
scarf ball doll kite drum guitar piano bell rope chain wheel engine boat ship train truck wagon bridge road street tower
castle garden tree leaf flower seed grass stone rock sand hill mountain river lake ocean island forest field cloud storm
rain snow wind fire candle mirror pillow blanket basket bucket ladder hammer nail needle button pocket wallet bottle""".split()
)

PLACES = tuple(
    """school market library office kitchen station airport museum theater hospital hotel bakery farm factory
church harbor beach park village valley desert cave barn garage cellar attic balcony bank stadium""".split()
)

NOUNS = ANIMALS + FOODS + THINGS + PLACES

COLORS = tuple("red blue green yellow black white brown gray pink purple orange silver".split())

ADJECTIVES = tuple(
    """big small old new young tall short long wide narrow heavy light fast slow hot cold warm cool dry wet
clean dirty loud quiet soft hard strong weak happy sad angry calm brave shy kind clever rich poor empty full bright dark
fresh sweet bitter sharp smooth rough thin thick deep flat round square""".split()
)

# base, third person, past, -ing
VERBS = (
    ("open", "opens", "opened", "opening"), ("close", "closes", "closed", "closing"),
    ("paint", "paints", "painted", "painting"), ("clean", "cleans", "cleaned", "cleaning"),
    ("carry", "carries", "carried", "carrying"), ("push", "pushes", "pushed", "pushing"),
    ("pull", "pulls", "pulled", "pulling"), ("move", "moves", "moved", "moving"),
    ("find", "finds", "found", "finding"), ("hold", "holds", "held", "holding"),
    ("lose", "loses", "lost", "losing"), ("sell", "sells", "sold", "selling"),
    ("buy", "buys", "bought", "buying"), ("see", "sees", "saw", "seeing"),
    ("watch", "watches", "watched", "watching"), ("touch", "touches", "touched", "touching"),
    ("wash", "washes", "washed", "washing"), ("fix", "fixes", "fixed", "fixing"),
    ("break", "breaks", "broke", "breaking"), ("bring", "brings", "brought", "bringing"),
    ("take", "takes", "took", "taking"), ("send", "sends", "sent", "sending"),
    ("draw", "draws", "drew", "drawing"), ("hide", "hides", "hid", "hiding"),
    ("keep", "keeps", "kept", "keeping"), ("love", "loves", "loved", "loving"),
    ("like", "likes", "liked", "liking"), ("need", "needs", "needed", "needing"),
    ("want", "wants", "wanted", "wanting"), ("follow", "follows", "followed", "following"),
    ("catch", "catches", "caught", "catching"), ("drop", "drops", "dropped", "dropping"),
)  # fmt: skip

# singular, plural
PLURALS = (
    ("cat", "cats"), ("dog", "dogs"), ("fox", "foxes"), ("wolf", "wolves"), ("mouse", "mice"), ("sheep", "sheep"),
    ("goose", "geese"), ("leaf", "leaves"), ("box", "boxes"), ("key", "keys"), ("knife", "knives"), ("shelf", "shelves"),
    ("city", "cities"), ("cherry", "cherries"), ("potato", "potatoes"), ("tomato", "tomatoes"), ("man", "men"),
    ("woman", "women"), ("child", "children"), ("tooth", "teeth"), ("foot", "feet"), ("bus", "buses"),
    ("watch", "watches"), ("dish", "dishes"), ("lamp", "lamps"), ("chair", "chairs"), ("book", "books"),
    ("pen", "pens"), ("ship", "ships"), ("train", "trains"), ("tree", "trees"), ("stone", "stones"),
    ("lion", "lions"), ("bear", "bears"), ("river", "rivers"), ("bell", "bells"), ("coin", "coins"), ("ring", "rings"),
)  # fmt: skip

NAMES = tuple(
    """Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Maria Nora Oscar Paula Quinn Rosa Simon
Tina Victor Wendy Yusuf Zoe Alice Boris Carmen Dora Erik Frida Gina Hugo Ivan Julia Karl Laura Martin Nina Olga Peter
Rita Sara Tom Ursula Vera Walter Amir Bella Chen Diego Elena Farid Hana Ines Jonas Kofi Lena Mona Noah Priya""".split()
)

SURNAMES = tuple(
    """Adams Baker Carter Dixon Evans Fisher Green Hill Irwin Jones King Lopez Miller Nelson Owens Parker Quincy
Reed Smith Turner Underwood Vance Walker Young Bell Cook Davis Ford Gray Hunt Lane Moore Price Ross Stone Ward West Wood""".split()
)

# city, country
CITIES = (
    ("Paris", "France"), ("Rome", "Italy"), ("Berlin", "Germany"), ("Madrid", "Spain"), ("Lisbon", "Portugal"),
    ("London", "England"), ("Dublin", "Ireland"), ("Vienna", "Austria"), ("Prague", "Czechia"), ("Warsaw", "Poland"),
    ("Athens", "Greece"), ("Oslo", "Norway"), ("Stockholm", "Sweden"), ("Helsinki", "Finland"), ("Copenhagen", "Denmark"),
    ("Cairo", "Egypt"), ("Nairobi", "Kenya"), ("Lagos", "Nigeria"), ("Tokyo", "Japan"), ("Seoul", "Korea"),
    ("Beijing", "China"), ("Delhi", "India"), ("Hanoi", "Vietnam"), ("Bangkok", "Thailand"), ("Lima", "Peru"),
    ("Quito", "Ecuador"), ("Santiago", "Chile"), ("Bogota", "Colombia"), ("Havana", "Cuba"), ("Toronto", "Canada"),
    ("Sydney", "Australia"), ("Budapest", "Hungary"), ("Brussels", "Belgium"), ("Zurich", "Switzerland"),
)  # fmt: skip

MONTHS = tuple(
    "January February March April May June July August September October November December".split()
)
WEEKDAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())

JOBS = tuple(
    """teacher doctor farmer baker driver pilot nurse singer writer painter lawyer cook judge sailor soldier
engineer waiter plumber gardener dentist""".split()
)
