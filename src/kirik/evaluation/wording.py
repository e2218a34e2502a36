"""Measures, classes, subgroups and numbers as English and Turkish readers write them."""

import re

from kirik.evaluation.bootstrap import Estimate
from kirik.output import words

MEASURES = {
    "en": {
        "auroc": "AUROC",
        "auprc": "AUPRC",
        "accuracy": "Accuracy",
        "balanced_accuracy": "Balanced accuracy",
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "ppv": "PPV",
        "npv": "NPV",
        "f1": "F1",
        "mcc": "MCC",
        "sensitivity_at_specificity_90": "Sensitivity at specificity 90%",
        "specificity_at_sensitivity_90": "Specificity at sensitivity 90%",
        "specificity_at_sensitivity_95": "Specificity at sensitivity 95%",
        "brier": "Brier score",
        "ece": "Calibration error (ECE)",
        "log_loss": "Log loss",
        "peak_on_fracture": "Evidence peak on the fracture",
        "macro_auroc": "AUROC, mean over classes",
        "macro_auprc": "AUPRC, mean over classes",
        "macro_f1": "F1, mean over classes",
        "share_fracture": "Decided: fracture",
        "share_uncertain": "Uncertain",
        "share_no_fracture": "Decided: no fracture",
        "sensitivity_at_low": "Fractured radiographs not dismissed",
        "specificity_at_high": "Other radiographs not called a fracture",
        "error_in_decided": "Wrong among the decided",
        "error_in_fracture": "Wrong among “fracture”",
        "error_in_no_fracture": "Missed among “no fracture”",
        "fractures_dismissed": "Fractures called “no fracture”",
    },
    "tr": {
        "auroc": "AUROC",
        "auprc": "AUPRC",
        "accuracy": "Doğruluk",
        "balanced_accuracy": "Dengeli doğruluk",
        "sensitivity": "Duyarlılık",
        "specificity": "Özgüllük",
        "ppv": "PPD",
        "npv": "NPD",
        "f1": "F1",
        "mcc": "MCC",
        "sensitivity_at_specificity_90": "%90 özgüllükte duyarlılık",
        "specificity_at_sensitivity_90": "%90 duyarlılıkta özgüllük",
        "specificity_at_sensitivity_95": "%95 duyarlılıkta özgüllük",
        "brier": "Brier skoru",
        "ece": "Kalibrasyon hatası (ECE)",
        "log_loss": "Log kaybı",
        "peak_on_fracture": "Haritanın en yüksek noktası kırığın içinde",
        "macro_auroc": "AUROC, sınıf ortalaması",
        "macro_auprc": "AUPRC, sınıf ortalaması",
        "macro_f1": "F1, sınıf ortalaması",
        "share_fracture": "Karar: kırık",
        "share_uncertain": "Belirsiz",
        "share_no_fracture": "Karar: kırık yok",
        "sensitivity_at_low": "Elenmeyen kırıklı radyografiler",
        "specificity_at_high": "Kırık denmeyen kırıksız radyografiler",
        "error_in_decided": "Karar verilenlerde yanlış",
        "error_in_fracture": "“Kırık” denenlerde yanlış",
        "error_in_no_fracture": "“Kırık yok” denenlerde atlanan kırık",
        "fractures_dismissed": "“Kırık yok” denen kırıklar",
    },
}

INDICES = frozenset(
    {
        *("auroc", "auprc", "macro_auroc", "macro_auprc", "macro_f1"),
        *("f1", "mcc", "brier", "ece", "log_loss"),
    }
)
"""Measures written as a number; all others are shares and written in percent."""

TURKISH = words.TERMS | {
    "not fractured": "kırık yok",
    "no fracture": "kırık yok",
    "fracture": "kırık",
    "uncertain": "belirsiz",
    "region": "bölge",
    "view": "projeksiyon",
    "hardware": "metal implant",
    "size": "görüntü boyutu",
}


def measure_name(name: str, language: str) -> str:
    return MEASURES[language][name]


def word(name: str, language: str) -> str:
    """A class, a subgroup or a level in the reader's language; unknown ones stay as they are."""
    spaced = name.replace("_", " ")
    if not spaced:
        return {"en": "unknown", "tr": "bilinmiyor"}[language]
    if language == "en":
        return spaced
    parts = re.split(r"(\s*[,+;/|]\s*)", spaced)
    return "".join(TURKISH.get(part, part) for part in parts)


def number(value: float, language: str, digits: int = 3) -> str:
    """With a decimal comma in Turkish, and a real minus sign."""
    return words.number(value, digits, language).replace("-", "−")


def whole(value: int, language: str) -> str:
    """3,212 in English, 3.212 in Turkish."""
    text = f"{value:,}"
    return text.replace(",", ".") if language == "tr" else text


def percent(share: float, language: str, digits: int = 1) -> str:
    """87.3% in English, %87,3 in Turkish."""
    text = number(abs(100 * share), language, digits)
    sign = "−" if share < 0 and float(f"{100 * share:.{digits}f}") else ""
    return f"{sign}%{text}" if language == "tr" else f"{sign}{text}%"


def value_text(value: float | None, name: str, language: str) -> str:
    """One figure of the measure `name`; a dash where it does not exist."""
    if value is None:
        return "–"
    return number(value, language) if name in INDICES else percent(value, language)


def interval_text(figure: Estimate | None, name: str, language: str) -> str:
    """Its 95 % interval as "low – high"; empty where there is none."""
    if figure is None or figure["low"] is None:
        return ""
    low, high = (value_text(figure[end], name, language) for end in ("low", "high"))
    return f"{low} – {high}"
