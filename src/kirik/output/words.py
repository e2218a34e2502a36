"""The words in which a reading is shown, in English and in Turkish."""

from kirik.errors import SettingsError
from kirik.operating_points import DECISIONS

TEXTS = {
    "en": {
        "fracture": "fracture",
        "uncertain": "uncertain",
        "no_fracture": "no fracture",
        "failed": "not read",
        "low_resolution": "few pixels: fine lines cannot be seen",
        "radiograph": "Radiograph",
        "reading": "Reading",
        "probability": "Probability of a fracture",
        "probability_class": "Probability of the class",
        "model": "Model",
        "evidence": "Evidence of a fracture",
        "decide": "uncertain: a person must decide",
        "read": "{read} read",
        "not_read": "{failed} not read",
        "more": "and {count} more, not shown",
        "disclaimer": "Research use, not a medical device",
    },
    "tr": {
        "fracture": "kırık",
        "uncertain": "belirsiz",
        "no_fracture": "kırık yok",
        "failed": "okunamadı",
        "low_resolution": "piksel sayısı az: ince çizgiler görülemez",
        "radiograph": "Radyografi",
        "reading": "Okuma",
        "probability": "Kırık olasılığı",
        "probability_class": "Sınıfın olasılığı",
        "model": "Model",
        "evidence": "Kırık lehine kanıt",
        "decide": "belirsiz: kararı bir insan vermeli",
        "read": "{read} radyografi okundu",
        "not_read": "{failed} dosya okunamadı",
        "more": "ve gösterilmeyen {count} dosya daha",
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
    return texts(language)[decision] if decision in DECISIONS else decision
