"""The words in which a reading is shown, in English and in Turkish."""

from kirik.errors import SettingsError
from kirik.operating_points import DECISIONS, OUT_OF_SCOPE, OperatingPoints

TEXTS = {
    "en": {
        "fracture": "fracture",
        "uncertain": "uncertain",
        "no_fracture": "no fracture",
        "out_of_scope": "out of scope",
        "out_of_scope_why": "not a radiograph of the kind that this model knows: read it by eye",
        "failed": "not read",
        "low_resolution": "few pixels: fine lines cannot be seen",
        "hardware": "hardware, as the model sees it: it may raise the probability by itself",
        "radiograph": "Radiograph",
        "reading": "Reading",
        "probability": "Probability of a fracture",
        "probability_class": "Probability of the class",
        "model": "Model",
        "evidence": "Evidence of a fracture",
        "decide": "uncertain: a person must decide",
        "points": "no fracture below {low:.3f}, fracture from {high:.3f}, a person decides between",
        "point": "no fracture below {low:.3f}, fracture from there on",
        "read": "{read} read",
        "not_read": "{failed} not read",
        "more": "and {count} more, not shown",
        "network": "Network",
        "input": "Input",
        "disk": "On disk",
        "models_note": "Out-of-fold figures with 95 % intervals; see the model's card.md",
        "no_models": "no model ships with this kirik; train one with kirik train",
        "disclaimer": "Research use, not a medical device",
    },
    "tr": {
        "fracture": "kırık",
        "uncertain": "belirsiz",
        "no_fracture": "kırık yok",
        "out_of_scope": "kapsam dışı",
        "out_of_scope_why": "bu modelin tanıdığı türden bir radyografi değil: gözle okuyun",
        "failed": "okunamadı",
        "low_resolution": "piksel sayısı az: ince çizgiler görülemez",
        "hardware": "modele göre metal implant var: olasılığı kendiliğinden yükseltebilir",
        "radiograph": "Radyografi",
        "reading": "Okuma",
        "probability": "Kırık olasılığı",
        "probability_class": "Sınıfın olasılığı",
        "model": "Model",
        "evidence": "Kırık lehine kanıt",
        "decide": "belirsiz: kararı bir insan vermeli",
        "points": "{low:.3f} altında kırık yok, {high:.3f} ve üzerinde kırık; "
        "arada kararı bir insan verir",
        "point": "{low:.3f} altında kırık yok, bu değerde ve üzerinde kırık",
        "read": "{read} radyografi okundu",
        "not_read": "{failed} dosya okunamadı",
        "more": "ve gösterilmeyen {count} dosya daha",
        "network": "Ağ",
        "input": "Girdi",
        "disk": "Diskte",
        "models_note": "Kat dışı değerler, %95 güven aralığıyla; modelin card.md dosyasına bakın",
        "no_models": "bu kirik ile gelen bir model yok; kirik train ile bir model eğitin",
        "disclaimer": "Araştırma içindir, tıbbi cihaz değildir",
    },
}


def texts(language: str) -> dict[str, str]:
    """All words of a language. Raises SettingsError, naming the languages there are."""
    if language not in TEXTS:
        raise SettingsError(f"language {language!r}: kirik speaks {', '.join(TEXTS)}")
    return TEXTS[language]


def decision_words(decision: str, language: str) -> str:
    """A decision in words; a class's name, which is the user's own, stays as it is."""
    known = (*DECISIONS, OUT_OF_SCOPE)
    return texts(language)[decision] if decision in known else decision


def points_words(points: OperatingPoints, language: str) -> str:
    """Which probabilities mean what, in one line: 0.2 is a fracture where the points lie low."""
    key = "point" if points.low == points.high else "points"
    return texts(language)[key].format(low=points.low, high=points.high)
