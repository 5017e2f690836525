"""Turns a till's product hierarchy (``FRZN BAGGED VEGETABLES - PLAIN``, ``12 PK/12 OZ``) into words for customers.

Here: the small tables of abbreviations and cut-off texts that Complete Journey's catalogue needs, and the rule that
makes a name of type, category, brand and size. Not here: which columns become which, in
``transforms/complete_journey.py``.
Source of the tables: the catalogue's own texts, most bought first; a word that is in no table stays as it is.
"""

import re
from collections.abc import Iterable

TEXT_LIMIT = 30
"""Characters after which the source cuts a product type."""

_WORDS = {
    "bev": "beverage", "bg": "bags", "bkd": "baked", "bn": "beans", "brd": "breaded",
    "brkfst": "breakfast", "btl": "bottle", "btr": "butter", "carb": "carbonated", "catfd": "cat food",
    "chix": "chicken", "choc": "chocolate", "chococlate": "chocolate", "cig": "cigarette",
    "cke": "cake", "cktls": "cocktails", "ckys": "cookies", "cleang": "cleaning",
    "cnd": "canned", "cndy": "candy", "cntrl": "control",
    "conc": "concentrate", "crbntd": "carbonated", "crkr": "crackers", "crmd": "creamed", "crystl": "crystal",
    "decaf": "decaffeinated", "decaffinated": "decaffeinated", "disposible": "disposable", "dnr": "dinner",
    "dnrs": "dinners", "dogfd": "dog food", "dps": "dips", "drnk": "drink", "drnking": "drinking",
    "drnkng": "drinking", "drnks": "drinks", "drp": "drops", "drsng": "dressing", "dsh": "dishes",
    "excp": "except", "fd": "food", "fds": "foods", "fem": "feminine", "fem.": "feminine", "flav": "flavored",
    "flvr": "flavored", "flvrd": "flavored", "frd": "fried", "fre": "fresh", "frz": "frozen", "frzn": "frozen",
    "gngr": "ginger", "ingred": "ingredients", "juic": "juice", "lss": "less", "ltr": "lighter",
    "ntrtnl": "nutritional", "rtd": "ready to drink", "shlfsh": "shellfish", "thn": "than",
    "fs": "French style", "gds": "goods", "grnd": "ground", "handke": "handkerchiefs", "hbc": "health & beauty care",
    "hygn": "hygiene", "hygn.napkins": "hygiene napkins", "hygn.": "hygiene", "incl": "including",
    "iqf": "individually frozen", "iws": "individually wrapped", "jce": "juice", "linaments": "liniments",
    "liqs": "liquids", "lozng": "lozenges", "misc": "miscellaneous", "misc.": "miscellaneous", "mlk": "milk",
    "mlt": "multi", "mneral": "mineral", "mnr": "mineral", "mnrl": "mineral", "mult": "multi", "mx": "mixes",
    "mxs": "mixes", "ndairy": "non-dairy", "nz": "New Zealand", "oj": "orange juice", "pac": "packed",
    "pckgd": "packaged", "pickld": "pickled", "pk": "pack", "pkg": "packaged", "pkgd": "packaged", "pkld": "pickled",
    "plstc": "plastic", "pnt": "peanut", "prem": "premium", "prep": "prepared", "prepack": "prepacked",
    "preportnd": "pre-portioned", "protien": "protein", "prpck": "prepacked", "prtn": "portion", "ptty": "patty",
    "pwdr": "powder", "pwdrs": "powders", "refigerated": "refrigerated", "refrgratd": "refrigerated",
    "refrig": "refrigerated", "reg": "regular", "rts": "ready to serve", "rw": "raw", "sal": "salads",
    "sald": "salad", "saus": "sausage", "saucessalsapicantee": "sauces, salsa & picante", "sft": "soft",
    "sgl": "single", "sherbts": "sherbets", "sndwch": "sandwich", "sngl": "single", "snks": "snacks",
    "specilaty": "specialty", "sply": "supplies", "sprd": "spread", "srv": "serve", "ss": "single serve",
    "stk": "stick", "subs": "substitutes", "sup": "super", "supppplies": "supplies", "suppplies": "supplies",
    "sv": "serve", "sw": "sweet", "sweetners": "sweeteners", "swt": "sweet", "syrp": "syrup", "tiss": "tissue",
    "tort": "tortilla", "trsh": "trash", "vac": "vacuum", "veg": "vegetable", "vend": "vending", "whl": "whole",
    "whlsm": "wholesome", "wt": "weight", "wtr": "water", "xpctrnt": "expectorants",
    "beeralemalt": "beer, ale & malt", "speciaty": "specialty",
}  # fmt: skip

_UPPER = {"bbq": "BBQ", "tv": "TV", "dvd": "DVD", "cd": "CD", "dxm": "DXM", "pse": "PSE", "ml": "ml"}

_WHOLE = {
    "AIR CARE - CONTINUOUS - NON EL": "air care, continuous, not electric",
    "ANTIPERSPIRANTS ONLY (ALL OTHE": "antiperspirants",
    "APPLES GOLD DELICIOUS (BULK&BA": "apples, golden delicious",
    "APPLES RED DELICIOUS (BULK&BAG": "apples, red delicious",
    "BATH BUBBLES-BATH SOAPS-ADDITI": "bubble bath & bath soaps",
    "BEERALEMALT LIQUORS": "beer, ale & malt liquor",
    "BLENDED JUICE&COMBINATIONS (50": "blended juice, at most half juice",
    "BLENDED JUICE&COMBINATIONS (OV": "blended juice, over half juice",
    "BUTTER SPRAY CRACKER (RITZ/CLU": "butter crackers",
    "CAKES: ANGEL FDS/CKE ROLLS": "angel food cakes & cake rolls",
    "CAN CATFD GOURMET/SUP PREM (GR": "canned cat food, gourmet",
    "CAN DOG FOOD (SKIPPY/PEDIGREE/": "canned dog food",
    "CAN DOG FOOD RATION (TRIX/VETS": "canned dog food, ration",
    "CAN DOGFD GOURMET/SUPER PREM (": "canned dog food, gourmet",
    "CANDY BARS (SINGLES)(INCLUDING": "candy bars, singles",
    "CANDY BAGS-CHOCOCLATE": "candy bags, chocolate",
    "CANNED CAT FOOD (9 LIVES/FRISK": "canned cat food",
    "CHEESE CRACKERS (CHEEZ-ITS/GOL": "cheese crackers",
    "COUGH SYRP/LOZNG-DRP/XPCTRNT": "cough syrup, drops & expectorants",
    "CRANAPPLE CRAN GRAPE JUICE (5": "cranberry-apple & cranberry-grape juice",
    "CRANBERRY JUICE (50% AND UNDER": "cranberry juice, at most half juice",
    "DAIRY CASE 100% PURE JUICE - O": "orange juice, chilled, 100% juice",
    "DAIRY CASE 100% PURE JUICE OTH": "fruit juice, chilled, 100% juice",
    "DAIRY CASE CITRUS PNCH/OJ SUBS": "citrus punch & orange drink, chilled",
    "DAIRY CASE FRUIT DRINKS (NO JU": "fruit drinks, chilled, no juice",
    "DAIRY CASE JUICE DRNK UNDER 10": "juice drinks, chilled, under 10% juice",
    "DAIRY CASE TEA WITH SUGAR OR S": "sweetened tea, chilled",
    "DISPOSABLE FD STORAGE CONTAINR": "disposable food storage containers",
    "DRY BEANS/PEAS/BARLEY: BAG & B": "dry beans, peas & barley",
    "DRY CAT FOOD (CAT CHOW/FRISKIE": "dry cat food",
    "DRY CAT FOOD ECONOMY (COST CUT": "dry cat food, economy",
    "DRY CAT FOOD SUP PREM (ONE/NUT": "dry cat food, super premium",
    "DRY DOG FOOD PREMIUM (ALPO/PUR": "dry dog food, premium",
    "DRY DOG FOOD SUPER PREM (ONE/N": "dry dog food, super premium",
    "DRY DOG VALUE (PET PRIDE/KLR/G": "dry dog food, value",
    "FLUID MILK WHITE ONLY": "white milk",
    "FRUIT DRINKS: CANNED & GLASS (": "fruit drinks, canned & glass",
    "FRZN BAGGED VEGETABLES- VALUE": "frozen bagged vegetables, value added",
    "FRZN BOXED VEGETABLES- VALUE A": "frozen boxed vegetables, value added",
    "FRZN BREAKFAST ENTREES/SANDWIC": "frozen breakfast entrees & sandwiches",
    "FRZN SS PREMIUM ENTREES/DNRS/N": "frozen single serve premium entrees & dinners, nutritional",
    "FRZN SS PREMIUM ENTREES/DNRS/T": "frozen single serve premium entrees & dinners, traditional",
    "FRZN TATER TOTS/OTHER EXTRUDED": "frozen tater tots",
    "GARBAGE KITCHEN COMPACTOR BA": "garbage, kitchen & compactor bags",
    "INSTANT COFFEE FLAVORED NO SWE": "instant coffee, flavored, unsweetened",
    "INSTANT COFFEE FLAVORED W/SWEE": "instant coffee, flavored, sweetened",
    "IWS SINGLE CHEESE": "cheese singles, individually wrapped",
    "KITCHEN & MULTI-PURPOSE CLEANE": "kitchen & multi-purpose cleaners",
    "MAINSTREAM WHEAT/MULTIGRAIN BR": "wheat & multigrain bread",
    "MAINSTREAM WHITE BREAD": "white bread",
    "MALTED MLK/SYRUP/PWDRS (EGGNOG": "malted milk, syrups & powders",
    "MEXICAN SOFT TORTILLAS AND WRA": "soft tortillas & wraps",
    "NATURAL CHEESE EXACT WT CHUNKS": "natural cheese chunks",
    "NATURAL CHEESE EXACT WT SLICES": "natural cheese slices",
    "NON-CARB FLVRD DRNKNG/MNRL WAT": "flavored water, still",
    "NON-CARB WATER FLVR - DRNK/MNR": "flavored water, still",
    "NON-CRBNTD DRNKING/MNERAL WATE": "drinking & mineral water, still",
    "PLASTIC/HEAVY PAPER PREM PLATE": "premium plates, plastic & heavy paper",
    "PLSTC CTLRYTBLCLTHSTTHPKSST": "plastic cutlery, tablecloths & toothpicks",
    "PREMIUM COOKIES (EX: PEPPERIDG": "premium cookies",
    "REFRIGERATED COOKIES-BREAK N B": "refrigerated cookies, break and bake",
    "RTS SOUP: CHUNKY/HOMESTYLE ET": "ready-to-serve soup, chunky & homestyle",
    "SEASONAL CANDY BAGS NON-CHOCOL": "seasonal candy bags, not chocolate",
    "SEASONAL CANDY BOX NON-CHOCOLA": "seasonal candy box, not chocolate",
    "SEMI-SOLID SALAD DRESSING MAY": "mayonnaise & salad dressing",
    "SFT DRNK 2 LITER BTL CARB INCL": "soft drink, carbonated, 2 liter bottle",
    "SFT DRNK MLT-PK BTL CARB (EXCP": "soft drink, carbonated, multi-pack bottles",
    "SFT DRNK SNGL SRV BTL CARB (EX": "soft drink, carbonated, single bottle",
    "SGL SV/VEND MACH SNACKS CHIP/P": "chips & snacks, single serve",
    "SOFT DRINK BOTTLE NON-CARB (EX": "soft drink, still, bottle",
    "SOFT DRINKS 12/18&15PK CAN CAR": "soft drink, carbonated, pack of 12, 15 or 18 cans",
    "SOFT DRINKS 20PK&24PK CAN CARB": "soft drink, carbonated, pack of 20 or 24 cans",
    "SOFT DRINKS 6PK/4PK CAN CARB (": "soft drink, carbonated, pack of 4 or 6 cans",
    "SOFT DRINKS CAN NON-CARB (EXCE": "soft drink, still, can",
    "SOUP CRACKERS (SALTINE/OYSTER)": "saltine & oyster crackers",
    "SS ECONOMY ENTREES/DINNERS ALL": "frozen single serve economy entrees & dinners",
    "VEG JUICE (EXCEPT TOMATO) (OVE": "vegetable juice",
    "VENDOR SIZE/SINGLE SERVE COOKI": "cookies, single serve",
    "YOGURT NOT MULTI-PACKS": "yogurt, single cups",
}

_UNITS = {
    "OZ": "oz", "OZS": "oz", "FL OZ": "fl oz", "LB": "lb", "LBS": "lb", "GA": "gallon", "GAL": "gallon",
    "GALON": "gallon", "L": "L", "LT": "L", "ML": "ml", "CT": "count", "DZ": "dozen", "DOZ": "dozen", "PK": "pack",
    "PKS": "pack", "PT": "pint", "QT": "quart", "SQ FT": "sq ft", "IN": "in", "FT": "ft", "LD": "loads", "LDS": "loads",
    "LOAD": "loads", "LOADS": "loads", "PC": "pieces", "PCS": "pieces", "G": "g", "GM": "g", "CM": "cm",
    "STEM": "stems", "STEMS": "stems",
}  # fmt: skip
_ONE = {
    "PT": "1 pint", "QT": "1 quart", "GAL": "1 gallon", "GALLON": "1 gallon", "DZ": "1 dozen", "DOZEN": "1 dozen",
    "LB": "1 lb", "CTN": "carton", "SMALL": "small", "MED": "medium", "LARGE": "large", "MINI": "mini",
}  # fmt: skip
_QUANTITY = re.compile(r"^(\d[\d.]*(?:-\d[\d.]*)?) *([A-Z]+(?: [A-Z]+)?)$")
_SPLIT = re.compile(r"([^A-Z0-9.%']+)")


def known_words(texts: Iterable[str]) -> set[str]:
    """Words of the texts that were certainly not cut: those shorter than :data:`TEXT_LIMIT`."""
    return {word for text in texts if len(text) < TEXT_LIMIT for word in re.findall(r"[A-Z0-9.%']+", text)}


def readable(text: str, known: set[str]) -> str:
    """A till's text in words and lower case, abbreviations expanded, a cut-off end dropped.

    Args:
        text: as in the catalogue, upper case.
        known: words certainly whole, from :func:`known_words`.
    """
    if text in _WHOLE:
        return _WHOLE[text]
    if len(text) >= TEXT_LIMIT:
        text = _without_cut_end(text, known)
    text = re.sub(r"(?<=[A-Z]) S\b", "'S", text.replace("SV BEV", "SERVICE BEV"))
    text = re.sub(r"\((BULK&BAG|BULK/PKG|RETAIL PK)\)", "", text)
    text = re.sub(r" - |: *|-(?=VALUE|SPECIALTY)|(?<=SEAFOOD)-|(?<=FR[EZ])-", ", ", text.strip())
    words = [_word(part) for part in _SPLIT.split(text)]
    joined = re.sub(r"\s*&\s*", " & ", "".join(words))
    return re.sub(r",(?= \()", "", re.sub(r"\s+", " ", joined)).strip(" ,-&/")


def _without_cut_end(text: str, known: set[str]) -> str:
    if text.count("(") > text.count(")"):
        return text[: text.rindex("(")]
    start, last = re.match(r"^(.*?)([A-Z0-9.%']*)$", text).groups()  # type: ignore[union-attr]  # always matches
    return text if last in known and len(last) > 1 else start.rstrip(" /&-")


def _word(part: str) -> str:
    word = part.lower()
    return _WORDS.get(word) or _UPPER.get(word) or word


def readable_size(size: str | None, category: str | None) -> str | None:
    """A package size in words (``12 PK/12 OZ`` → ``12 pack, 12 oz``); None where there is none to tell.

    A size of 10 pounds or more in the produce categories is the carton that the shop receives, not what a customer
    buys (bananas of ``40 LB`` are priced at 98 cents), and is not told; potatoes do come in bags of 10 to 20 pounds.
    """
    if not size:
        return None
    # Ahead of some sizes stand a shelf letter, a count in brackets or an item number.
    text = re.sub(r"^([LNB] +(?=[\d.])|\(\d+\) *|\d{5,} +)", "", size.strip().upper())
    pounds = re.match(r"^([\d.]+) *LB", text)
    if not re.search(r"\d", text):
        return _ONE.get(text)
    if pounds and category is not None and float(pounds[1]) >= 10 and not _is_potato_bag(category, float(pounds[1])):
        return None
    parts = re.split(r" *(?:(?<! \d)/|, ) *", text)
    if len(parts) == 2 and parts[0].replace(".", "").isdigit():
        return f"{parts[0]} × {_quantity(parts[1])}"
    return ", ".join(_quantity(part) for part in parts if part)


def _is_potato_bag(category: str, pounds: float) -> bool:
    return category == "POTATOES" and pounds <= 20


def _quantity(text: str) -> str:
    match = _QUANTITY.match(text)
    if match and match[2] in _UNITS:
        return f"{match[1]} {_UNITS[match[2]]}"
    return text.lower()


def product_name(kind: str | None, category: str | None, brand: str | None, size: str | None) -> str:
    """A name for customers: type, category where the type does not say it, brand, size.

    Args:
        kind: readable type.
        category: readable category.
        brand: ``Private`` or ``National``.
        size: readable size.
    """
    name = kind or category or "unnamed product"
    if kind and category and not _stems(kind) & _stems(category):
        name = f"{kind} ({category})"
    parts = [name[0].upper() + name[1:], f"{brand.lower()} brand" if brand else None, size]
    return ", ".join(part for part in parts if part)


def _stems(text: str) -> set[str]:
    return {word[:4] for word in re.findall(r"[a-z]{3,}", text.lower()) if word not in {"and", "not", "all", "other"}}
