"""The words in which a reading is shown, in English and in Turkish."""

from collections import Counter

from kirik.bundle import Manifest
from kirik.errors import SettingsError
from kirik.operating_points import DECISIONS, OUT_OF_SCOPE, OperatingPoints
from kirik.reading.reading import Reading

TEXTS = {
    "en": {
        "fracture": "fracture",
        "uncertain": "uncertain",
        "no_fracture": "no fracture",
        "out_of_scope": "out of scope",
        "out_of_scope_why": "not a radiograph of the kind that this model knows: read it by eye",
        "failed": "not read",
        "low_resolution": "few pixels: fine lines cannot be seen",
        "low_contrast": "little contrast: what it shows may be lost; export it with its window",
        "pixel_aspect": "its pixels are no squares: it was stretched to its true shape",
        "hardware": "hardware, as the model sees it: it may raise the probability by itself",
        "radiograph": "Radiograph",
        "frame": "frame",
        "reading": "Reading",
        "probability": "Probability of a fracture",
        "probability_class": "Probability of the class",
        "model": "Model",
        "evidence": "Evidence of a fracture",
        "nowhere": "no place stands out",
        "decide": "uncertain: a person must decide",
        "points": "no fracture below {low}, fracture from {high}, a person decides between",
        "point": "no fracture below {low}, fracture from there on",
        "read": "{read} read",
        "not_read": "{failed} not read",
        "more": "and {count} more, not shown",
        "network": "Network",
        "average": "average of {count} models",
        "default": "* The default: read with it unless --model names another.",
        "uncertain_share": "Uncertain",
        "disk": "On disk",
        "models_note": "Measured on radiographs of folds that the networks never saw, with 95 % "
        "intervals. AUROC and AUPRC: how well fractured radiographs are ranked above others (1 is "
        "best). ECE: how far probabilities are off what is observed (0 is best). Uncertain: the "
        "share of radiographs that the model leaves to a person.",
        "card": "Card of {name}: {path}",
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
        "low_contrast": "kontrastı çok az: ayrıntıları kaybolmuş olabilir; pencere ayarıyla "
        "yeniden dışa aktarın",
        "pixel_aspect": "pikselleri kare değil: gerçek oranlarına getirilerek okundu",
        "hardware": "modele göre metal implant var: olasılığı kendiliğinden yükseltebilir",
        "radiograph": "Radyografi",
        "frame": "kare",
        "reading": "Okuma",
        "probability": "Kırık olasılığı",
        "probability_class": "Sınıfın olasılığı",
        "model": "Model",
        "evidence": "Kırık lehine kanıt",
        "nowhere": "öne çıkan bir yer yok",
        "decide": "belirsiz: kararı bir insan vermeli",
        "points": "{low} altında kırık yok, {high} ve üzerinde kırık; arada kararı bir insan verir",
        "point": "{low} altında kırık yok, bu değerde ve üzerinde kırık",
        "read": "{read} radyografi okundu",
        "not_read": "{failed} dosya okunamadı",
        "more": "ve gösterilmeyen {count} dosya daha",
        "network": "Ağ",
        "average": "{count} modelin ortalaması",
        "default": "* Varsayılan: --model ile başkası istenmedikçe bununla okunur.",
        "uncertain_share": "Belirsiz",
        "disk": "Diskte",
        "models_note": "Ağların hiç görmediği katlardaki radyografilerde ölçülmüştür; %95 güven "
        "aralığıyla. AUROC ve AUPRC: kırıklı radyografilerin ötekilerin ne ölçüde üstünde "
        "sıralandığı (en iyisi 1). ECE: olasılıkların gözlenenden ne kadar saptığı (en iyisi 0). "
        "Belirsiz: modelin bir insana bıraktığı radyografilerin oranı.",
        "card": "{name} modelinin kartı: {path}",
        "no_models": "bu kirik ile gelen bir model yok; kirik train ile bir model eğitin",
        "disclaimer": "Araştırma içindir, tıbbi cihaz değildir",
    },
}


REASONS = {
    "tr": {
        "missing": "böyle bir dosya yok; yolu denetleyin",
        "not_a_file": "bir dosya değil",
        "no_permission": "okuma izni yok",
        "unreadable": "okunamıyor; diski ve yolu denetleyin",
        "empty": "dosya boş; yeniden kopyalayın",
        "not_an_image": "bir görüntü dosyası değil",
        "unsupported": "bu biçim okunmuyor",
        "too_large": "sınırdan büyük; daha küçük dışa aktarın",
        "truncated": "dosya yarım kalmış; yeniden kopyalayın",
        "damaged": "dosya bozuk; yeniden kopyalayın ya da dışa aktarın",
        "wrong_modality": "direkt radyografi değil",
        "wrong_body_part": "modelin kapsamadığı bir vücut bölgesi",
        "several_frames": "birden çok kare içeriyor; her kareyi ayrı bir dosya olarak verin",
        "too_small": "değerlendirmek için piksel sayısı az; daha büyük dışa aktarın",
        "blank": "içinde görülecek bir şey yok; pencere ayarıyla yeniden dışa aktarın",
        "too_slow": "çözülmesi çok uzun sürdü; yeniden dışa aktarın",
        "crashed": "çözücü bu dosyada çöktü; yeniden dışa aktarın",
        "model": "model bu radyografi için bir sayı vermedi; gözle okuyun",
        "unexpected": "beklenmedik bir biçimde çözülemedi; yeniden dışa aktarın",
    }
}
"""Why a file could not be read, by the stable word of it; English errors are words already."""

TERMS = {
    "hand": "el",
    "leg": "bacak",
    "hip": "kalça",
    "shoulder": "omuz",
    "mixed": "birden çok",
    "frontal": "AP/PA",
    "lateral": "yan",
    "oblique": "oblik",
    "yes": "var",
    "no": "yok",
    "unknown": "bilinmiyor",
    "transverse": "transvers",
    "spiral": "spiral",
    "comminuted": "parçalı",
    "greenstick": "yaş ağaç",
    "fractured": "kırık",
}
"""In Turkish: what pages and reports call radiographs and their fractures."""


def texts(language: str) -> dict[str, str]:
    """All words of a language. Raises SettingsError, naming the languages there are."""
    if language not in TEXTS:
        raise SettingsError(f"language {language!r}: kirik speaks {', '.join(TEXTS)}")
    return TEXTS[language]


def decision_words(decision: str, language: str) -> str:
    """A decision in words; a class's name, which is the user's own, stays as it is."""
    known = (*DECISIONS, OUT_OF_SCOPE)
    return texts(language)[decision] if decision in known else decision


def warnings_words(reading: Reading, language: str) -> list[str]:
    """What makes a reading doubtful, a line each; so does hardware that the model sees, where it
    says how probable a fracture is."""
    seen = reading.attributes.get("hardware", 0) >= 0.5 and reading.decision != OUT_OF_SCOPE
    words, warnings = texts(language), (*reading.warnings, *(("hardware",) if seen else ()))
    return [words.get(one, one.replace("_", " ")) for one in dict.fromkeys(warnings)]


def points_words(points: OperatingPoints, language: str) -> str:
    """Which probabilities mean what, in one line: 0.2 is a fracture where the points lie low."""
    key = "point" if points.low == points.high else "points"
    low, high = (number(at, 3, language) for at in (points.low, points.high))
    return texts(language)[key].format(low=low, high=high)


def number(value: float, digits: int, language: str) -> str:
    """With a decimal comma in Turkish."""
    shown = f"{value:.{digits}f}"
    return shown.replace(".", ",") if language == "tr" else shown


def probability_words(value: float, language: str) -> str:
    """As exact as the operating points are told; 0.9997 is not 1: it never rounds to certainty."""
    return number(min(max(value, 0.001), 0.999) if 0 < value < 1 else value, 3, language)


def network_words(manifest: Manifest, language: str) -> str:
    """What a model is made of: its networks' names, or how many models it averages."""
    if manifest.kind == "average":
        return texts(language)["average"].format(count=len(manifest.members))
    counts = Counter(manifest.network.split(" + "))
    return " + ".join(name if n == 1 else f"{name} ×{n}" for name, n in counts.items())
