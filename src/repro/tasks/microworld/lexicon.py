"""The words. All of them are ordinary English or made up here from syllables; nothing is taken from a data set."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


def _joined(beginnings: str, endings: str) -> list[str]:
    return [first + last for first in beginnings.split() for last in endings.split()]


_BEGINNINGS = "Al Bel Cas Del El Fir Gal Is Jes Kar Lor Mel Nor Ros"
FIRST_NAMES = {
    "she": _words(
        "Mara Tilla Senna Orla Vessa Ilka Brenna Dova Lurra Nessa Polla Ravna Sira Tova Ulla Wenna Yara Zella Cora "
        "Halla Jorna Kessa Linna Moira Nola Perra Runa Salla Thea Vanna"
    )
    + _joined(_BEGINNINGS, "ina etta ara issa ola wyn andra ela inde ova"),
    "he": _words(
        "Bram Corin Dorrel Edric Fenn Garrun Holt Ivor Jarek Kellan Lorin Marrek Norbet Osric Perrin Rolf Sorrel Tobin "
        "Ulric Varrin Wendel Yorick Alder Benno Cador Dunstan Emmet Florin Gideon Hamlin"
    )
    + _joined(_BEGINNINGS, "ric mund gar fred win bert ander eth on ius"),
}
SURNAMES = _words(
    "Venn Brask Tolley Harlow Marsh Dunmore Pell Corvane Askew Ridd Lorne Fairley Quill Stroud Bexley Varrow Kells "
    "Oxton Thorne Wick Redfern Sallow Grange Holloway Pike Crane Barlow Ashby Selwyn Morrow Tarn Winslow Drake Hobb "
    "Kirkby Lark Mallory Noakes Osgood Prior"
) + _joined(
    "Bar Cald Dar Fen Gan Har Kel Lan Mort Nett Pen Ras Sel Tarr Ver Wil",
    "ton by wick son more ley field man stone er dale croft hurst well combe ridge",
)
TOWN_WORDS = _words(
    "Harlow Marsh Dunmore Lorne Stroud Bexley Oxton Grange Ashby Winslow Kirkby Tarn Ember Hallow Aldgate Brindle "
    "Calder Dunwick Elmstead Foxley Garth Hindle Inver Kestrel Lydd Merrow Norfield Orrin Pennick Quarrel Rushton "
    "Silver Tilby Underhill Wexcombe Yarrow"
) + _joined(
    "Abb Brin Crow Dunn East Frost Glen Hol Ink Kings Low Mill Oak Rams Stan West",
    "ton by wick ham ford ley field haven stead ness mouth minster worth well combe ridge",
)
"""The first twelve are surnames as well: only the sentence says whether Marsh is a person or a town."""
TOWN_FORMS = ("{}", "Port {}", "{} Bay", "Upper {}", "{} Cross")
FIRM_FORMS = ("{} and Sons", "{} Works", "{} Mill", "{} Trading", "the {} Society")
TITLE_FIRST = _words("Silver Broken Hidden Quiet Golden Last Northern Burning Empty Winter")
TITLE_SECOND = _words("River Crown Garden Letter Harbour Mirror Song Bridge Forest Stranger")

ADJECTIVES = _words(
    "copper wooden silver old new red blue green black white heavy small large broken clean striped painted carved "
    "rusty golden plain narrow round square dusty brown grey yellow purple tall short thick thin soft hard sharp "
    "bright dark cheap precious hollow folded twisted stained polished leather woollen marble glass"
)
THINGS = _words(
    "lamp kettle ladder clock basket bucket hammer saw rope barrel bottle plate knife fork spoon chair table bench "
    "cart wheel saddle bridle boot coat hat scarf glove belt ring brooch letter map book picture mirror drum flute "
    "fiddle candle lantern broom blanket pillow curtain carpet anchor oar net sail compass telescope key lock door "
    "window shovel rake chisel needle thimble spindle loom barrow sack crate tray jug bowl cup pan cradle shelf stool "
    "desk banner bell whistle trumpet harp organ shawl apron shirt cloak sandal buckle button purse coin medal statue "
    "vase mask kite doll puppet"
)
PROFESSIONS = _words(
    "baker sailor farmer miller weaver tailor teacher doctor painter singer porter hunter fisher potter printer clerk "
    "guard gardener smith carter"
)
MOODS = _words("tired happy hungry late angry proud silent famous careful lonely")
SPOTS = _words("market harbour station church school bridge mill square inn workshop garden library")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words("January February March April May June July August September October November December")
MANNERS = _words("quickly slowly quietly gladly carefully secretly")
NUMBERS = _words("two three four five six seven eight nine ten twelve")

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
