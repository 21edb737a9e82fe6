"""Ten everyday procedures on text that a person would type: extract, classify, rewrite, format.

The demo teaches them to SmolLM2. They are easy enough for a small model. The bundled backbone was not
trained on them.
"""

from __future__ import annotations

import json
from random import Random

from tokmem.mini.family import Family, Sampler
from tokmem.mini.lexicon import CITIES, COLORS, MONTHS, NAMES, SURNAMES, WEEKDAYS

_TOWNS = tuple(city for city, _ in CITIES)
_NEWS = (
    "the photos from the trip are online now",
    "I moved the appointment to {day}",
    "your parcel is at my place",
    "the meeting in {town} went well",
    "I found your keys in the kitchen",
    "we need one more chair for {day}",
    "the tickets for {town} are booked",
    "the printer works again",
    "I will be late on {day}",
    "thank you for your help last {day}",
)
_GREETINGS = ("Hi {other},", "Hello {other},", "Dear {other},", "Good morning {other},")
_CLOSINGS = ("Best regards,", "See you soon,", "Kind regards,", "Cheers,", "All the best,")


def _sender(rng: Random) -> tuple[str, str]:
    sender = f"{rng.choice(NAMES)} {rng.choice(SURNAMES)}"
    facts = {"other": rng.choice(NAMES), "day": rng.choice(WEEKDAYS), "town": rng.choice(_TOWNS)}
    parts = (rng.choice(_GREETINGS), rng.choice(_NEWS) + ".", rng.choice(_CLOSINGS))
    return f"{' '.join(parts).format(**facts)} {sender}", sender


_INVITATIONS = (
    "Shall we meet in the {place} on {day} at {time}?",
    "Are you free on {day}? I could be at the {place} by {time}.",
    "Let's talk about the {plan} at {time} on {day}.",
    "{day} suits me best for the {plan}, say {time} in the {place}.",
    "The {plan} is moved to {day}, {time}, same place.",
    "Can you come to the {place} at {time}? {day} would be perfect.",
)
_PLACES = tuple("library office museum station bakery park theater hotel school market".split())
_PLANS = tuple("project budget party move trip report concert contract".split())


def _meeting(rng: Random) -> tuple[str, str]:
    day, time = rng.choice(WEEKDAYS), f"{rng.randint(8, 20)}:{rng.choice(('00', '15', '30', '45'))}"
    form = rng.choice(_INVITATIONS)
    return form.format(
        day=day, time=time, place=rng.choice(_PLACES), plan=rng.choice(_PLANS)
    ), f"{day}, {time}"


_JOURNEYS = (
    "I need a {way} from {start} to {end} on {date}.",
    "What does a {way} to {end} cost if I leave {start} on {date}?",
    "Please book a {way} for two from {start} to {end}, leaving {date}.",
    "We live in {start} and want to see {end} around {date}. Is there a {way}?",
    "Is there still a {way} to {end} on {date}? We start in {start}.",
)


def _journey(rng: Random) -> tuple[str, str]:
    start, end = rng.sample(_TOWNS, 2)
    date = f"{rng.randint(1, 28)} {rng.choice(MONTHS)}"
    form = rng.choice(_JOURNEYS)
    return form.format(
        way=rng.choice(("flight", "train", "bus")), start=start, end=end, date=date
    ), f"{start} -> {end}"


_PRAISE = (
    *("wonderful", "friendly and quick", "better than expected", "spotless", "delicious", "worth every cent"),
    *("a real pleasure", "excellent"),
)
_BLAME = (
    *(
        "terrible",
        "rude and slow",
        "far too expensive",
        "dirty",
        "a waste of money",
        "broken on the first day",
    ),
    *("a big disappointment", "awful"),
)
_REVIEWED = tuple(
    "staff soup room breakfast service pizza bathroom view lamp phone tour guide coffee bed".split()
)
_AFTERWARDS = (
    "The {a} was {first} and the {b} was {second}.",
    "We stayed two nights in {town}: the {a} was {first}, the {b} {second}.",
    "My {relative} says the {b} was {second}, and I found the {a} {first}.",
    "I ordered it last {day}. The {a} was {first}, and the {b} was {second} too.",
)


def _review(rng: Random) -> tuple[str, str]:
    good = rng.random() < 0.5
    first, second = rng.sample(_PRAISE if good else _BLAME, 2)
    a, b = rng.sample(_REVIEWED, 2)
    facts = {
        "town": rng.choice(_TOWNS),
        "day": rng.choice(WEEKDAYS),
        "relative": rng.choice(("wife", "son", "aunt")),
    }
    text = rng.choice(_AFTERWARDS).format(a=a, b=b, first=first, second=second, **facts)
    return text, "positive" if good else "negative"


_TROUBLES = {
    "payment": (
        "I was charged twice for order {n}",
        "my invoice {n} shows the wrong amount",
        "the refund for order {n} is not on my bank account",
        "my credit card was refused for order {n}",
    ),
    "delivery": (
        "the parcel for order {n} has not arrived",
        "the driver left order {n} in the rain",
        "order {n} was sent to my old address",
        "the tracking page of order {n} shows no parcel",
    ),
    "account": (
        "I cannot log in as customer {n}",
        "I forgot the password of account {n}",
        "please change the e-mail address of customer {n}",
        "customer account {n} is locked",
    ),
    "repair": (
        "the screen from order {n} is cracked",
        "the drill from order {n} no longer starts",
        "a button of the radio from order {n} fell off",
        "the heater from order {n} makes a strange noise",
    ),
}
_FRAMES = (
    "Hello, {} since {day}.",
    "Support team, {}. What now?",
    "Please help: {}.",
    "{}, and nobody answers me.",
)


def _ticket(rng: Random) -> tuple[str, str]:
    topic = rng.choice(tuple(_TROUBLES))
    trouble = rng.choice(_TROUBLES[topic]).format(n=rng.randint(1000, 9999))
    text = rng.choice(_FRAMES).format(trouble, day=rng.choice(WEEKDAYS))
    return text[0].upper() + text[1:], topic


_PHRASES = {
    "French": (
        ("Où est {}", "Je cherche {}", "Nous aimons {}"),
        ("la gare", "le musée", "la plage", "le marché"),
    ),
    "German": (
        ("Wo ist {}", "Ich suche {}", "Wir mögen {}"),
        ("das Museum", "die Kirche", "das Hotel", "die Schule"),
    ),
    "Spanish": (
        ("¿Dónde está {}", "Busco {}", "Nos gusta {}"),
        ("la estación", "el museo", "la playa", "el mercado"),
    ),
    "Italian": (
        ("Dove si trova {}", "Cerco {}", "Ci piace {}"),
        ("la stazione", "il museo", "la spiaggia", "il mercato"),
    ),
    "Dutch": (
        ("Waar is {}", "Ik zoek {}", "Wij houden van {}"),
        ("het station", "het museum", "het strand", "de markt"),
    ),
}
_IN = {"French": "à", "German": "in", "Spanish": "en", "Italian": "a", "Dutch": "in"}


def _language(rng: Random) -> tuple[str, str]:
    language = rng.choice(tuple(_PHRASES))
    (question, *statements), things = _PHRASES[language]
    asked = rng.random() < 0.4
    text = (question if asked else rng.choice(statements)).format(rng.choice(things))
    return f"{text} {_IN[language]} {rng.choice(_TOWNS)}{'?' if asked else '.'}", language


_ORDERS = (
    "send me the {thing} by {day}",
    "bring a {thing} to the party on {day}",
    "tell {name} that the {thing} is ready",
    "leave the {thing} with {name}",
    "order a new {thing} for {name}",
    "check the {thing} before {day}",
    "show {name} the {thing}",
    "return the {thing} on {day}",
)
_OBJECTS = tuple(
    "report cake contract key camera ticket invoice parcel map guitar ladder tent letter bike".split()
)


def _request(rng: Random) -> tuple[str, str]:
    facts = {"thing": rng.choice(_OBJECTS), "day": rng.choice(WEEKDAYS), "name": rng.choice(NAMES)}
    order = rng.choice(_ORDERS).format(**facts)
    return f"{order[0].upper()}{order[1:]}{rng.choice('.!')}", f"Could you please {order}?"


_CHORES = (
    *("buy bread", "call {name}", "water the garden", "pay the rent", "clean the kitchen", "book a table"),
    *(
        "wash the car",
        "write to {name}",
        "feed the cat",
        "pick up {name}",
        "fix the lamp",
        "return the books",
    ),
)
_LISTINGS = (
    "Today I have to {}.",
    "On {day} I must {}.",
    "Before {day} we need to {}.",
    "Do not forget to {}.",
)


def _chores(rng: Random) -> tuple[str, str]:
    chores = [chore.format(name=rng.choice(NAMES)) for chore in rng.sample(_CHORES, rng.randint(2, 4))]
    told = f"{', '.join(chores[:-1])} and {chores[-1]}"
    text = rng.choice(_LISTINGS).format(told, day=rng.choice(WEEKDAYS))
    return text, "\n".join(f"- {chore}" for chore in chores)


_MENU = {
    "coffee": "coffees",
    "tea": "teas",
    "juice": "juices",
    "pizza": "pizzas",
    "salad": "salads",
    "soup": "soups",
    "cake": "cakes",
    "beer": "beers",
    "burger": "burgers",
    "sandwich": "sandwiches",
}
_COUNTS = ("one", "two", "three", "four", "five", "six")
_TABLES = (
    "{}, please.",
    "We would like {}.",
    "Can I get {}?",
    "{} for table {table}.",
    "Hi, {} to take away.",
)


def _menu_order(rng: Random) -> tuple[str, str]:
    dishes = {dish: rng.randint(1, 6) for dish in rng.sample(tuple(_MENU), 2)}
    told = [f"{_COUNTS[n - 1]} {dish if n == 1 else _MENU[dish]}" for dish, n in dishes.items()]
    text = rng.choice(_TABLES).format(" and ".join(told), table=rng.randint(1, 30))
    return text[0].upper() + text[1:], json.dumps(dishes)


_OFFERS = (
    "Selling my {color} {thing}, hardly used, {price} euros, pick up in {town}.",
    "For sale in {town}: one {color} {thing} for {price} euros.",
    "My {color} {thing} is looking for a new home. {price} euros, {town}.",
    "Moving out of {town}, so my {color} {thing} has to go for {price} euros.",
)
_WARES = tuple(
    "sofa lamp bike desk table mirror carpet shelf guitar tent chair piano camera wardrobe".split()
)


def _offer(rng: Random) -> tuple[str, str]:
    color, thing, town = rng.choice(COLORS), rng.choice(_WARES), rng.choice(_TOWNS)
    price = 5 * rng.randint(1, 60)
    text = rng.choice(_OFFERS).format(color=color, thing=thing, price=price, town=town)
    return text, f"{color} {thing} | {price} EUR | {town}"


def _family(name: str, sample: Sampler, *wordings: str) -> Family:
    return Family(name, wordings, sample, split="everyday")


EVERYDAY: tuple[Family, ...] = (
    _family(
        "message_sender",
        _sender,
        "Write the full name of the person who sent the message.",
        "Who wrote this? Give first and last name.",
        "Name the sender.",
        "Give the name that the message is signed with.",
    ),
    _family(
        "meeting_time",
        _meeting,
        "Write the day and the time of the meeting, separated by a comma.",
        "When do they meet? Answer: day, time.",
        "Give weekday and time of the appointment.",
        "Take day and time out of the message.",
    ),
    _family(
        "journey_route",
        _journey,
        "Write where the journey starts and where it ends, with -> between them.",
        "Give start -> destination.",
        "From which city to which? Put an arrow between them.",
        "Take the two cities out of the request, the start first.",
    ),
    _family(
        "review_opinion",
        _review,
        "Say whether the review is positive or negative.",
        "Is the writer content? Answer positive or negative.",
        "Label the opinion: positive or negative.",
        "Which is the review, positive or negative?",
    ),
    _family(
        "ticket_topic",
        _ticket,
        "Sort the customer's message: payment, delivery, account or repair.",
        "Which department should answer: payment, delivery, account or repair?",
        "Label the complaint with payment, delivery, account or repair.",
        "What is it about: payment, delivery, account or repair?",
    ),
    _family(
        "text_language",
        _language,
        "Name the language of the text.",
        "Which language is this?",
        "In which language is the sentence written?",
        "Tell the language, in English.",
    ),
    _family(
        "polite_request",
        _request,
        "Rewrite the order as a polite question that begins with Could you please.",
        "Ask for the same politely, with Could you please.",
        "Turn the command into a polite request.",
        "Say it as a question: Could you please ...?",
    ),
    _family(
        "chores_to_list",
        _chores,
        "Write the tasks as a list, one a line, each after a hyphen.",
        "Make a to-do list with hyphens.",
        "List what is to be done, a line each.",
        "Turn the sentence into bullet points.",
    ),
    _family(
        "order_to_json",
        _menu_order,
        "Write the order as JSON, from each dish to how many of it.",
        "Give a JSON object of dishes and counts.",
        "Turn the order into JSON.",
        "How many of what? Answer in JSON.",
    ),
    _family(
        "offer_to_record",
        _offer,
        "Write the offer as thing, price and city, separated by bars.",
        "Give thing | price EUR | city.",
        "Turn the advertisement into a row with bars.",
        "What is sold, for how much and where? Separate the three by bars.",
    ),
)
"""Ten procedures of the demo on a real language model."""
