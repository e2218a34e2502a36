"""What a DICOM file says it is, and what of that is refused unseen."""

import re
import unicodedata

from pydicom import Dataset

from kirik.dicom import known_words
from kirik.dicom.parsing import truncated
from kirik.errors import RadiographError

_RADIOGRAPHY = ("CR", "DX", "RG", "DR", "XR")  # the last two are not DICOM's, but are written
_UNTOLD = ("", "OT", "SC")
_RADIOGRAPH_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",  # computed radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # digital X-ray, for presentation
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
    "1.2.840.10008.5.1.4.1.1.7.1",  # the same of several frames: bits
    "1.2.840.10008.5.1.4.1.1.7.2",  # bytes
    "1.2.840.10008.5.1.4.1.1.7.3",  # words
    "1.2.840.10008.5.1.4.1.1.7.4",  # colours
)
_RAW_CLASS = "1.2.840.10008.5.1.4.1.1.1.1.1"  # digital X-ray, for processing
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_OTHERS = {
    "CT": "a CT image",
    "MR": "an MR image",
    "US": "an ultrasound image",
    "MG": "a mammogram",
    "XA": "an angiogram",
    "RF": "a fluoroscopy image",
    "NM": "a nuclear medicine image",
    "PT": "a PET image",
    "PX": "a dental panoramic radiograph",
    "IO": "an intra-oral radiograph",
    "SR": "a structured report",
    "PR": "a presentation state",
    "KO": "a key object selection",
    "SEG": "a segmentation",
    "DOC": "a document",
    "ECG": "an electrocardiogram",
}
_OTHER_CLASSES = {
    "1.2": "MG",
    "1.3": "IO",
    "2": "CT",
    "3": "US",
    "4": "MR",
    "5": "NM",
    "6": "US",
    "9": "ECG",
    "11": "PR",
    "12": "XA",
    "12.2": "RF",
    "13.1.3": "MG",
    "13.1.4": "MG",
    "13.1.5": "MG",
    "20": "NM",
    "66.4": "SEG",
    "88": "SR",
    "88.59": "KO",
    "104": "DOC",
    "128": "PT",
    "130": "PT",
}
"""Of SOP classes after the common root: beginnings, the longest of which counts. What has none of
these, and is no radiograph's, has no name here."""
_ROOT = "1.2.840.10008.5.1.4.1.1."

_BODY_PARTS = {
    "the spine": (
        r"(CT?|TL?|LS?|S)?SPINE\b|CERVIC|SERVIK|LUMB|LOMB|VERTEB|OMURGA|COLUM?NA\b|COLONN[AE]\b|"
        r"(HALS|BRUST|LENDEN)?WIRBEL|RA(CHI(DE|S)|QUIS)\b|SA[CK]R(UM|AL)\b|COCCY|KOKSI[KG]|"
        r"THORACIC SPINE|[CTLSHB]WS\b|[HBL]WK\b|DORSAL\b"
    ),
    "the chest": (
        r"CHEST|(HEMI)?(THORA|TORA[CKX])|LUNGS?\b|RIBS?\b|STERNUM|MEDIAST|HEART|BRONCH|THYMUS|GOGUS|"
        r"AKCIGER|KABURGA|BRUSTKORB|POITRINE|RIPPEN|COSTILLA|COSTELA|[CK]OSTAL?\b|COSTE\b|COTES\b|"
        r"PECHO\b"
    ),
    "the skull": (
        r"SKULL|HEAD|CRAN(EO?\b|I)|KRAN[IY]|SCHAE?DEL|KAFA|BRAIN|FAC(E|IAL)\b|NASAL|NOSE|ORBIT|SINUS|"
        r"ZYGOM|MASTOID|SELLA|CEREBEL|SCALP|CHEEK|EARS?\b|IAC\b|WATERS\b|PNS\b|[CS]E(PH|F)ALO|"
        r"KOPF\b|TETE\b|TESTA\b|CABE[ZC]A\b"
    ),
    "the eye": r"EYE|CORNEA|SCLERA|GOZ\b",
    "the vessels": r"AORTA|CAROTID|CORONARY|CIRCLE ?OF ?WILLIS|VESSELS?\b",
    "the jaw": r"JAW|(SUB)?MANDIB|MAXILL|TEMPOROMANDIB|TMJ\b|MOUTH|TONGUE|PAROTID|CENE\b",
    "the teeth": r"TEETH|TOOTH|DENT|OPG\b|PANOR",
    "the neck": (
        r"NECK|LARYN|PHARYN|TRACHEA|THYROID|BOYUN|HALS\b|COU\b|COLLO\b|CUELLO\b|PESCOCO\b"
    ),
    "the abdomen": (
        r"ABD\b|A[BD]DOM|BAUCH|BATIN|KARIN\b|KUB\b|STOMACH|COLON\b|BOWEL|INTESTIN|KIDNEY|BLADDER|"
        r"LIVER|GALLBL|O?ESOPHAG|DUODEN|JEJUN|ILEUM|RECTUM|ADRENAL|PANCREA|SPLEEN|URET(ER|HRA)|"
        r"UPRURTRACT|PROSTATE|UTERUS|OVAR(Y|IES)\b|ADBG\b|DUSG\b"
    ),
    "the breast": r"BREAST|MAMM[AO]|MEME\b",
}
"""What kirik does not read: how a message calls it, and the beginnings of its words, among them
the codes of DICOM PS3.16 Annex L, and the commonest of other languages. Many a head and neck are a
bone's, and dorsal is a side of a hand, too: a limb's word beside them counts. Not WHOLEBODY, which
skeletal surveys carry: their films are of limbs, too."""

_ALONE = {"BEL": "the spine", "SIRT": "the chest", "BAS": "the skull", "DIS": "the teeth"}
"""Turkish words that mean these only where nothing else is said: DIS is distal, BAS low, too."""

_LIMB, _PELVIS = "the extremity", "the pelvis"
_LIMBS = (
    r"SHOULDER|CLAVIC|SCAPUL|ACROMIO|STERNOCLAV|HUMER|(UPPER )?ARMS?\b|FOREARM|ELBOW|"
    r"RADI(US|ALE?)\b|ULNA|WRIST|HAND|FINGER|THUMB|CARP|METAC|HIPS?\b|FEM|THIGH|KNEE|PATELL|"
    r"LEGS?\b|TIBI|FIBUL|ANKLE|FOOT|FEET|TOES?\b|CALCAN|HEEL|TARS|METAT|EXTREMIT|LIMB|"
    # Turkish: ayakta, in which a foot begins, is a patient who stands.
    r"OMUZ|KOL\b|DIRSEK|BILEK|PARMAK|EL\b|KALCA|UYLUK|DIZ\b|BACAK|AYAK(?!TA\b)|"
    # German
    r"SCHULTER|SCHLUE?SSELBEIN|OBERARM|ELL(EN)?BOGEN|UNTERARM|SPEICHE\b|DAUMEN|HUE?FT|"
    r"(OBER|UNTER)?SCHENKEL|KNIE|BEIN\b|SCHIENBEIN|WADENBEIN|SPRUNG|KNOE?CHEL|FUSS|FERSE|ZEHE|"
    # French
    r"EPAULE|OMOPLATE|BRAS\b|COUDE|POIGNET|DOIGT|POUCE|HANCHE|CUISSE|GENOU|ROTUL|JAMBE|PERON|"
    r"CHEVILLE|ASTRAGAL|PIED|TALON|ORTEIL|"
    # Spanish and Portuguese
    r"H?OMBRO|(ANTE)?BRA[ZC]O|CODO\b|COTOVELO|MUNECA|PUNHO|MANO\b|MAO\b|DEDO|CADERA|QUADRIL|MUSLO|"
    r"COXA|RODILLA|JOELHO|PIERNA|PERNA|TOBILLO|TORNOZELO|PIE\b|DEL RADIO\b|"
    # Italian
    r"SPALLA|OMERO|(AVAM)?BRACCIO|GOMITO|POLSO|DIT[OA]\b|POLLICE|ANCA\b|COSCIA|GINOCCHIO|GAMBA|"
    r"CAVIGLIA"
)
_OVER_PELVIS = ("the chest", "the abdomen")
_CODES = {
    "the spine": "421060004 122494005 122495006 122496007 1217253001 1217256009 1217257000 "
    "1217254007 54735007 64688005 T-D04FF T-11501 T-11502 T-11503 T-11AD0 T-11BF0",
    "the chest": "816094009 51185008 113197003 56873002 72410000 80891009 416550000 416775004 "
    "416152001 416319003 417437006 T-D3000 T-11300 T-11210 T-D3300 T-32000 R-FAB52 R-FAB53 R-FAB54 "
    "R-FAB55 R-FAB56",
    "the skull": "89546000 69536005 91397008 74386004 363654007 2095001 13881006 774007 T-11100 "
    "T-D1100 T-11196 T-11149 T-D14AE T-22000 T-11166 T-D1000",
    "the jaw": "661005 91609006 70925003 53620006 T-D1213 T-11180 T-11170 T-15290",
    "the teeth": "38199008 T-54010",
    "the neck": "45048000 4596009 T-D1600 T-24100",
    "the abdomen": "818981001 113345001 818982008 416949008 71854001 69695003 T-D4000 T-59300 "
    "T-57000 R-FAB57",
    "the breast": "76752008 T-04000",
}
"""SNOMED codes, old and new, of DICOM's lists of anatomic regions (CID 4, CID 4031)."""


def refuse_others(dataset: Dataset, name: str) -> None:
    """Raise for what is no plain radiograph made for being looked at."""
    modality = str(dataset.get("Modality") or "").strip().upper()
    sop_class = str(dataset.get("SOPClassUID") or "")
    intent = str(dataset.get("PresentationIntentType") or "").strip().upper()
    if dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY_CLASS:
        message = f"{name}: a DICOMDIR, which lists other files; name those, or their folder"
        raise RadiographError(message, reason="unsupported")
    if sop_class == _RAW_CLASS or intent == "FOR PROCESSING":
        raise RadiographError(
            f"{name}: raw detector data (for processing); send the image made for presentation",
            reason="unsupported",
        )
    modality = _modality_of_class(sop_class) or modality
    if modality in _RADIOGRAPHY or (modality in _UNTOLD and sop_class in _RADIOGRAPH_CLASSES):
        return
    if not modality and not sop_class:
        raise truncated(name)
    what = _OTHERS.get(modality, "no radiograph by its modality or SOP class")
    raise RadiographError(
        f"{name}: {what}; kirik reads plain radiographs (CR, DX, RG, secondary capture)",
        reason="wrong_modality",
    )


def _modality_of_class(sop_class: str) -> str | None:
    """The modality that a standard SOP class alone tells, for files whose Modality says otherwise;
    None for radiographs' classes, and for those of makers."""
    if sop_class in _RADIOGRAPH_CLASSES or not sop_class.startswith(_ROOT):
        return None
    parts = sop_class.removeprefix(_ROOT).split(".")
    beginnings = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((_OTHER_CLASSES[one] for one in beginnings if one in _OTHER_CLASSES), "another")


def refuse_body_part(dataset: Dataset, name: str) -> None:
    """Raise for a body part that kirik does not read; absent and unknown words pass."""
    part = _body_part(dataset)
    if part:
        raise RadiographError(
            f"{name}: a radiograph of {part} by its tags; kirik reads limbs, shoulders and hips",
            reason="wrong_body_part",
        )


def without_names(text: object) -> str:
    """What a text tells of a body part, without the words that may be somebody's name, and taken by
    a reading as before."""
    plain = _plain(text)
    kept = " ".join(word for word in plain.split() if word in known_words.WORDS)
    if kept == plain and str(text).isascii():
        return str(text).strip()
    said = _said(plain)
    if _said(kept) == said:
        return kept
    return (said or "").removeprefix("the ").upper()


def keep_known_codes(item: Dataset) -> None:
    """Let the code of a body part, an item of a sequence, hold nothing but what is known."""
    known = known_words.CODES.union(*(listed.split() for listed in _CODES.values()))
    for keyword, listed in (
        ("CodeValue", known),
        ("CodingSchemeDesignator", known_words.SCHEMES),
    ):
        if str(item.get(keyword)) not in listed:
            item.pop(keyword, None)
    if "CodeMeaning" in item:
        item.CodeMeaning = without_names(item.CodeMeaning)


def _body_part(dataset: Dataset) -> str | None:
    words, codes = _told(dataset)
    said = [_said(text) for text in words]
    # "HEAD OF FEMUR", "CHEST SHOULDER": one limb among the words is reason enough to look.
    if _LIMB in said:
        return None
    told = [part for part in said if part]
    # A film of the pelvis is one of hips; one of the abdomen, or the chest, and the pelvis is none.
    if _PELVIS in told:
        return next((part for part in told if part in _OVER_PELVIS), None)
    if told:
        return told[0]
    return next((part for part, listed in _CODES.items() if codes & set(listed.split())), None)


def _said(text: str) -> str | None:
    """Which body part a text in capitals tells, `_LIMB` and `_PELVIS` for those that kirik reads;
    None if it tells none."""
    if re.search(rf"\b({_LIMBS})", text):
        return _LIMB
    if text in _ALONE:
        return _ALONE[text]
    found = [part for part, told in _BODY_PARTS.items() if re.search(rf"\b({told})", text)]
    if re.search(r"\bPELVI", text):
        return next((part for part in found if part in _OVER_PELVIS), _PELVIS)
    return next(iter(found), None)


def _told(dataset: Dataset) -> tuple[list[str], set[str]]:
    """Words and codes of the body part; what cannot be read says nothing."""
    words, codes = [], set()
    try:
        words.append(_plain(body_part_examined(dataset)))
        for item in dataset.get("AnatomicRegionSequence") or ():
            # In the letters that the file tells of, if any, or in those of Turkish writers.
            words.append(_plain(in_turkish_letters(item, "CodeMeaning")))
            words.append(_plain(item.get("CodeMeaning") or ""))
            codes.add(str(item.get("CodeValue") or ""))
    except (ValueError, TypeError, AttributeError):
        pass
    return words, codes


def body_part_examined(dataset: Dataset) -> str:
    """The element of that name, "" where it is not there: its letters are those of ASCII by the
    standard, and pydicom takes them for Latin-1; Turkish writers write theirs."""
    return in_turkish_letters(dataset, "BodyPartExamined")


def in_turkish_letters(dataset: Dataset, keyword: str) -> str:
    """An element's text if its letters are those of UTF-8, or else of Turkish Windows."""
    if keyword not in dataset:
        return ""
    value = dataset.get_item(keyword).value
    if not isinstance(value, bytes):
        return str(value or "")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("cp1254", "replace")


def _plain(text: object) -> str:
    """In capitals without accents, words apart by one space."""
    letters = unicodedata.normalize("NFKD", str(text).replace("ı", "i")).upper()
    letters = "".join(c for c in letters if not unicodedata.combining(c))
    return re.sub(r"[^A-Z0-9]+", " ", letters).strip()
