"""The words. All of them are ordinary English or made up here from syllables; nothing is taken from a data set."""

from __future__ import annotations


def _joined(beginnings: str, endings: str) -> list[str]:
    return [first + last for first in beginnings.split() for last in endings.split()]


_BEGINNINGS = "Al Bel Cas Del El Fir Gal Is Jes Kar Lor Mel Nor Ros"
FIRST_NAMES = {
    "she": (
        "Mara Tilla Senna Orla Vessa Ilka Brenna Dova Lurra Nessa Polla Ravna Sira Tova Ulla Wenna Yara Zella Cora Halla "
        "Jorna Kessa Linna Moira Nola Perra Runa Salla Thea Vanna"
    ).split()
    + _joined(_BEGINNINGS, "ina etta ara issa ola wyn andra ela inde ova"),
    "he": (
        "Bram Corin Dorrel Edric Fenn Garrun Holt Ivor Jarek Kellan Lorin Marrek Norbet Osric Perrin Rolf Sorrel Tobin "
        "Ulric Varrin Wendel Yorick Alder Benno Cador Dunstan Emmet Florin Gideon Hamlin"
    ).split()
    + _joined(_BEGINNINGS, "ric mund gar fred win bert ander eth on ius"),
}
SURNAMES = (
    "Venn Brask Tolley Harlow Marsh Dunmore Pell Corvane Askew Ridd Lorne Fairley Quill Stroud Bexley Varrow Kells Oxton "
    "Thorne Wick Redfern Sallow Grange Holloway Pike Crane Barlow Ashby Selwyn Morrow Tarn Winslow Drake Hobb Kirkby "
    "Lark Mallory Noakes Osgood Prior"
).split() + _joined(
    "Bar Cald Dar Fen Gan Har Kel Lan Mort Nett Pen Ras Sel Tarr Ver Wil",
    "ton by wick son more ley field man stone er dale croft hurst well combe ridge",
)
TOWN_WORDS = (
    "Harlow Marsh Dunmore Lorne Stroud Bexley Oxton Grange Ashby Winslow Kirkby Tarn Ember Hallow Aldgate Brindle Calder "
    "Dunwick Elmstead Foxley Garth Hindle Inver Kestrel Lydd Merrow Norfield Orrin Pennick Quarrel Rushton Silver Tilby "
    "Underhill Wexcombe Yarrow"
).split() + _joined(
    "Abb Brin Crow Dunn East Frost Glen Hol Ink Kings Low Mill Oak Rams Stan West",
    "ton by wick ham ford ley field haven stead ness mouth minster worth well combe ridge",
)
"""The first twelve are surnames as well: only the sentence says whether Marsh is a person or a town."""
TOWN_FORMS = ("{}", "Port {}", "{} Bay", "Upper {}", "{} Cross")
FIRM_FORMS = ("{} and Sons", "{} Works", "{} Mill", "{} Trading", "the {} Society")
TITLE_FIRST = "Silver Broken Hidden Quiet Golden Last Northern Burning Empty Winter".split()
TITLE_SECOND = "River Crown Garden Letter Harbour Mirror Song Bridge Forest Stranger".split()

ADJECTIVES = (
    "copper wooden silver old new red blue green black white heavy small large broken clean striped painted carved rusty "
    "golden plain narrow round square dusty brown grey yellow purple tall short thick thin soft hard sharp bright dark "
    "cheap precious hollow folded twisted stained polished leather woollen marble glass"
).split()
THINGS = (
    "lamp kettle ladder clock basket bucket hammer saw rope barrel bottle plate knife fork spoon chair table bench cart "
    "wheel saddle bridle boot coat hat scarf glove belt ring brooch letter map book picture mirror drum flute fiddle "
    "candle lantern broom blanket pillow curtain carpet anchor oar net sail compass telescope key lock door window "
    "shovel rake chisel needle thimble spindle loom barrow sack crate tray jug bowl cup pan cradle shelf stool desk "
    "banner bell whistle trumpet harp organ shawl apron shirt cloak sandal buckle button purse coin medal statue "
    "vase mask kite doll puppet"
).split()
PROFESSIONS = (
    "baker sailor farmer miller weaver tailor teacher doctor painter singer porter hunter fisher potter printer clerk "
    "guard gardener smith carter"
).split()
MOODS = "tired happy hungry late angry proud silent famous careful lonely".split()
SPOTS = "market harbour station church school bridge mill square inn workshop garden library".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MANNERS = "quickly slowly quietly gladly carefully secretly".split()
NUMBERS = "two three four five six seven eight nine ten twelve".split()

TRANSFERS = (
    ("give", "gave", "given", "receive"),
    ("send", "sent", "sent", "get"),
    ("sell", "sold", "sold", "buy"),
    ("lend", "lent", "lent", "borrow"),
    ("hand", "handed", "handed", "take"),
)
"""Lemma, past, participle, and the lemma of the converse: A gave it to B, B received it from A."""
RECEIPTS = (
    ("receive", "received", "received", "give"),
    ("get", "got", "got", "send"),
    ("buy", "bought", "bought", "sell"),
    ("borrow", "borrowed", "borrowed", "lend"),
    ("take", "took", "taken", "hand"),
)
CHANGES = (
    ("repair", "repaired", "repaired"), ("paint", "painted", "painted"), ("clean", "cleaned", "cleaned"),
    ("break", "broke", "broken"), ("hide", "hid", "hidden"), ("find", "found", "found"), ("lose", "lost", "lost"),
    ("carry", "carried", "carried"), ("burn", "burned", "burned"), ("steal", "stole", "stolen"),
)  # fmt: skip
SOCIALS = (
    ("meet", "met", "met"), ("help", "helped", "helped"), ("thank", "thanked", "thanked"),
    ("praise", "praised", "praised"), ("blame", "blamed", "blamed"), ("follow", "followed", "followed"),
    ("warn", "warned", "warned"), ("hire", "hired", "hired"),
)  # fmt: skip
MOVES = (
    ("visit", "visited", "visited"), ("leave", "left", "left"), ("reach", "reached", "reached"),
    ("enter", "entered", "entered"),
)  # fmt: skip

SENSES = {
    "bank": ("a house for money", "the side of a river"),
    "bark": ("the skin of a tree", "the voice of a dog"),
    "bat": ("an animal that flies", "a stick for a game"),
    "crane": ("a tall bird", "a machine that lifts"),
    "seal": ("an animal of the sea", "a mark of wax"),
    "spring": ("a time of the year", "a coil of metal"),
    "trunk": ("a box for a journey", "the nose of an elephant"),
    "palm": ("a tall tree", "a part of the hand"),
    "match": ("a stick that burns", "a game of two sides"),
    "note": ("a short letter", "a sound of music"),
    "chest": ("a strong box", "a part of the body"),
    "current": ("a stream of water", "a flow in a wire"),
    "nail": ("a pin of iron", "the end of a finger"),
    "pipe": ("a tube for water", "a thing to smoke"),
    "pool": ("a pond to swim in", "a game with balls"),
    "pupil": ("a child at school", "a part of the eye"),
    "scale": ("a tool that weighs", "the skin of a fish"),
    "shell": ("the house of a snail", "a thing that a gun fires"),
    "star": ("a light of the night", "a famous player"),
    "wave": ("a hill of water", "a sign with the hand"),
    "bow": ("a tool that shoots", "a knot of ribbon"),
    "plant": ("a thing that grows", "a place that makes goods"),
    "watch": ("a small clock", "a guard of the night"),
    "ball": ("a round toy", "a dance of the court"),
}
CONTEXTS = {
    "a house for money": ("coins clerk loan vault", ("The {w} counted the {0} and lent them out.", "He put the {0} into the {w}.", "A {1} of the {w} wrote the {2} down.", "Thieves broke into the {3} of the {w}.")),
    "the side of a river": ("water reeds ferry mud", ("The {w} was covered with {1} and {3}.", "We sat on the {w} and looked at the {0}.", "The {2} stopped at the far {w}.", "Deep {3} lay along the {w}.")),
    "the skin of a tree": ("oak trunk moss axe", ("The {w} of the {0} was rough.", "Grey {2} grew on the {w}.", "An {3} had cut into the {w}.", "He peeled the {w} from the {0}.")),
    "the voice of a dog": ("hound yard night stranger", ("The {w} of the {0} woke us at {2}.", "A loud {w} came from the {1}.", "With one {w} it drove the {3} away.", "The {0} gave a short {w}.")),
    "an animal that flies": ("cave wings dusk insects", ("The {w} hung in the {0}.", "At {2} the {w} spread its {1}.", "A {w} was hunting {3} at {2}.", "The {1} of the {w} were thin.")),
    "a stick for a game": ("ball team player wood", ("The {2} swung the {w} at the {0}.", "Her {w} was made of {3}.", "The {1} bought a new {w}.", "The {w} hit the {0} hard.")),
    "a tall bird": ("lake feathers nest wings", ("The {w} stood in the {0}.", "A {w} built its {2} by the {0}.", "The {w} lost some {1}.", "With slow {3} the {w} rose.")),
    "a machine that lifts": ("stones harbour crates driver", ("The {w} lifted the {0} slowly.", "A {w} at the {1} moved the {2}.", "The {3} of the {w} was careful.", "The {w} swung the {2} ashore.")),
    "an animal of the sea": ("ice fish rocks pup", ("The {w} slept on the {0}.", "A {w} dived for {1}.", "The {w} and her {3} lay on the {2}.", "The {w} slid off the {2}.")),
    "a mark of wax": ("letter king paper judge", ("The {w} on the {0} was red.", "The {1} pressed his {w} on the {2}.", "The {3} broke the {w} and read.", "No {w} closed the {0}.")),
    "a time of the year": ("flowers rain lambs winter", ("In {w} the {0} open.", "After {3} comes {w}.", "The {2} are born in {w}.", "It was a {w} with much {1}.")),
    "a coil of metal": ("clock mattress steel lock", ("The {w} of the {0} was worn.", "A {w} in the {1} broke.", "It has a {w} of {2}.", "He put a new {w} into the {3}.")),
    "a box for a journey": ("clothes attic ship straps", ("She packed the {0} into the {w}.", "The {w} stood in the {1}.", "The {w} went aboard the {2}.", "Two {3} held the {w} shut.")),
    "the nose of an elephant": ("zoo leaves tusk water", ("It raised its {w} and drank {3}.", "With its {w} it tore off {1}.", "At the {0} a {w} reached over the wall.", "The {w} lay beside the {2}.")),
    "a tall tree": ("beach coconuts shade sand", ("A {w} grew on the {0}.", "The {1} fell from the {w}.", "We rested in the {2} of a {w}.", "The {w} stood alone in the {3}.")),
    "a part of the hand": ("fingers coin skin glove", ("The {1} lay in her {w}.", "The {2} of his {w} was hard.", "She closed her {0} over her {w}.", "The {3} had a hole at the {w}.")),
    "a stick that burns": ("candle smoke box stove", ("He lit the {0} with a {w}.", "The {w} went out in {1}.", "The last {w} in the {2} was wet.", "A {w} started the {3}.")),
    "a game of two sides": ("goal team crowd field", ("The {w} ended without a {0}.", "Our {1} won the {w}.", "The {2} cheered at the {w}.", "Rain on the {3} stopped the {w}.")),
    "a short letter": ("desk ink friend envelope", ("She left a {w} on the {0}.", "The {w} was written in {1}.", "A {w} from my {2} came today.", "He put the {w} into an {3}.")),
    "a sound of music": ("piano singer tune choir", ("The {1} held the high {w}.", "One {w} of the {0} was wrong.", "The {2} begins with a low {w}.", "The {3} sang every {w}.")),
    "a strong box": ("gold lid hinges cellar", ("The {w} was full of {0}.", "The {1} of the {w} was locked.", "The {w} had iron {2}.", "They hid the {w} in the {3}.")),
    "a part of the body": ("breath heart cough ribs", ("His {w} hurt with every {0}.", "The {1} beats in the {w}.", "A {2} shook her {w}.", "The {3} guard the {w}.")),
    "a stream of water": ("river boat swimmer rocks", ("The {w} of the {0} is strong.", "The {w} carried the {1} away.", "The {2} fought the {w}.", "A {w} runs between the {3}.")),
    "a flow in a wire": ("battery switch copper lamp", ("The {0} drives the {w}.", "The {1} stopped the {w}.", "The {w} runs through the {2}.", "A weak {w} lit the {3}.")),
    "a pin of iron": ("hammer plank wall hook", ("He drove the {w} in with a {0}.", "A {w} held the {1}.", "The picture hung on a {w} in the {2}.", "The {w} was bent like a {3}.")),
    "the end of a finger": ("thumb polish hand skin", ("She broke the {w} of her {0}.", "There was red {1} on the {w}.", "The {w} had grown into the {3}.", "Every {w} of his {2} was dirty.")),
    "a tube for water": ("tap cellar plumber leak", ("The {w} to the {0} was frozen.", "A {w} in the {1} burst.", "The {2} mended the {w}.", "The {w} had a {3}.")),
    "a thing to smoke": ("tobacco beard sailor ash", ("He filled his {w} with {0}.", "The {w} burned a hole in his {1}.", "The {2} lit a {w}.", "There was {3} in the {w}.")),
    "a pond to swim in": ("swimmers towel summer bath", ("The {w} was full of {0}.", "She left her {1} by the {w}.", "In {2} the {w} is open.", "The {w} is as warm as a {3}.")),
    "a game with balls": ("table cue tavern chalk", ("They played {w} on a green {0}.", "For {w} you need a {1}.", "At the {2} they play {w}.", "He rubbed {3} on the stick and began the {w}.")),
    "a child at school": ("lesson teacher desk exam", ("The {w} forgot the {0}.", "The {1} praised the {w}.", "Every {w} sat at a {2}.", "The {w} passed the {3}.")),
    "a part of the eye": ("light lens doctor iris", ("The {w} grows small in bright {0}.", "Behind the {w} is the {1}.", "The {2} looked into the {w}.", "The {3} is round the {w}.")),
    "a tool that weighs": ("flour grams grocer pan", ("She put the {0} on the {w}.", "The {w} shows the {1}.", "The {2} set his {w} right.", "One {3} of the {w} sank.")),
    "the skin of a fish": ("carp cook fin knife", ("A {w} of the {0} was silver.", "The {1} took off every {w}.", "A {w} lay by the {2}.", "With a {3} she lifted a {w}.")),
    "the house of a snail": ("beach slime garden pearl", ("The {w} lay on the {0}.", "A trail of {1} led to the {w}.", "She found a {w} in the {2}.", "There was a {3} in the {w}.")),
    "a thing that a gun fires": ("cannon trench soldiers blast", ("The {w} fell into the {1}.", "The {0} fired another {w}.", "The {2} heard the {w} come.", "The {w} ended in a {3}.")),
    "a light of the night": ("sky moon telescope planet", ("One {w} stood in the {0}.", "Beside the {1} was a bright {w}.", "She found the {w} with a {2}.", "It was a {3}, not a {w}.")),
    "a famous player": ("film stage fans camera", ("The {w} of the {0} was late.", "The {w} left the {1}.", "The {2} waited for the {w}.", "The {w} smiled into the {3}.")),
    "a hill of water": ("storm ship shore foam", ("A {w} struck the {1}.", "The {0} drove the {w} higher.", "The {w} broke on the {2}.", "White {3} crowned the {w}.")),
    "a sign with the hand": ("window friend goodbye crowd", ("He gave a {w} from the {0}.", "With a {w} she said {2}.", "My {1} answered the {w}.", "The king gave the {3} a {w}.")),
    "a tool that shoots": ("arrow archer deer string", ("The {1} bent the {w}.", "The {0} left the {w}.", "He hunted {2} with a {w}.", "The {3} of the {w} broke.")),
    "a knot of ribbon": ("hair gift silk dress", ("She wore a {w} in her {0}.", "The {1} had a red {w}.", "The {w} was of {2}.", "A {w} closed the {3}.")),
    "a thing that grows": ("leaves pot root seed", ("The {w} lost its {0}.", "The {w} stands in a {1}.", "The {2} of the {w} was dry.", "The {w} grew from one {3}.")),
    "a place that makes goods": ("workers engines owner shift", ("The {0} left the {w}.", "The {w} has new {1}.", "The {2} closed the {w}.", "The night {3} at the {w} is long.")),
    "a small clock": ("wrist minutes strap pocket", ("The {w} on her {0} had stopped.", "My {w} is ten {1} slow.", "The {2} of the {w} was leather.", "He took a {w} from his {3}.")),
    "a guard of the night": ("gate torch captain tower", ("The {w} closed the {0}.", "The {w} carried a {1}.", "The {2} called the {w}.", "From the {3} the {w} saw fire.")),
    "a round toy": ("children kick garden rubber", ("The {0} lost the {w}.", "She gave the {w} a {1}.", "The {w} flew over the {2}.", "The {w} is made of {3}.")),
    "a dance of the court": ("queen gown music guests", ("The {0} opened the {w}.", "She wore a {1} to the {w}.", "At the {w} there was {2}.", "The {3} came late to the {w}.")),
}  # fmt: skip
"""Sense: four words of its context, and templates over them. The last template of each stands in tasks only."""
