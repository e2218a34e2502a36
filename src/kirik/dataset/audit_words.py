"""The words of an audit's page and summary, in English and Turkish."""

from kirik.output.words import TERMS

FACTS: dict[str, dict[str, str]] = {
    "en": {
        "size": "image size",
        "mode": "colour mode",
        "format": "file format",
        "orientation": "EXIF orientation",
        "jpeg": "JPEG quality",
        "problem": "unreadable file",
        "bytes_per_pixel": "bytes per pixel",
        "mean": "brightness",
        "contrast": "contrast",
        "sharpness": "sharpness",
        "black_border": "black border",
        "region": "region",
        "view": "view",
        "hardware": "hardware",
        "multiscan": "several views in one image",
    },
    "tr": {
        "size": "görüntü boyutu",
        "mode": "renk kipi",
        "format": "dosya biçimi",
        "orientation": "EXIF yönü",
        "jpeg": "JPEG kalitesi",
        "problem": "okunamayan dosya",
        "bytes_per_pixel": "piksel başına bayt",
        "mean": "parlaklık",
        "contrast": "kontrast",
        "sharpness": "keskinlik",
        "black_border": "siyah kenar",
        "region": "bölge",
        "view": "projeksiyon",
        "hardware": "metal implant",
        "multiscan": "tek görüntüde birkaç çekim",
    },
}

TURKISH = TERMS | {
    "not_fractured": "kırık yok",
    "other": "diğer",
    "none": "yok",
    "truncated": "yarım",
    "unreadable": "okunamıyor",
    "damaged": "bozuk",
    "empty": "boş",
    "missing": "dosya yok",
    "no_permission": "okuma izni yok",
    "not_a_file": "dosya değil",
    "not_an_image": "görüntü değil",
    "too_large": "çok büyük",
    "unsupported": "desteklenmiyor",
    "wrong_modality": "direkt radyografi değil",
    "kills_decoder": "çözücüyü çökertiyor",
    "byte": "özdeş dosya",
    "pixel": "özdeş piksel",
    "near": "neredeyse aynı",
    "turned": "döndürülmüş",
    "inverted": "negatifi",
}

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Audit of the data set {name}",
        "radiographs": "radiographs",
        "decodable": "can be read",
        "must": "to mend before training",
        "should": "to deal with",
        "know": "to know",
        "must_heading": "Mend before training",
        "should_heading": "Deal with, by the split or by hand",
        "know_heading": "Good to know",
        "good_heading": "What is good",
        "ready": "Nothing has to be mended before training.",
        "not_ready": "Not ready for training: {count} kinds of defects come first.",
        "one_not_ready": "Not ready for training: one kind of defect comes first.",
        "unusable": "This data set cannot be used as it is.",
        "summary": "Summary",
        "what_to_do": "What to do",
        "show": "Show the {count} cases",
        "one_show": "Show the case",
        "cut": "… and {count} more; `kirik data audit --json` lists all.",
        "files": "{count} radiographs",
        "one_files": "1 radiograph",
        "contents": "What is in it",
        "classes": "Classes",
        "several": "A radiograph may count in several rows.",
        "further": "{count} further values",
        "total": "all",
        "boxes": "Fracture boxes",
        "boxes_text": "{boxes} boxes on {radiographs} radiographs; {without} fractured ones have "
        "none. The median box measures {share} of its image's side.",
        "boxes_none": "The data set has no boxes: localization cannot be measured on it.",
        "groups": "Groups",
        "groups_text": "{groups} groups hold {radiographs} radiographs, the largest {largest}; "
        "{mixed} of them hold several classes.",
        "groups_none": "The data set names no patients or exams; kirik's split makes groups of "
        "duplicates and of neighbouring file numbers.",
        "groups_of_copies": "The data set names no patients or exams, and its file numbers do not "
        "tell them: kirik's split keeps copies alone together. Name them in a CSV's column patient "
        "or exam, or give each a folder.",
        "patients_text": "Of {files} DICOM files, {without} without a patient's id, or with a "
        "placeholder for one (such as ANONYMOUS, or one id on more than {most} radiographs): no "
        "patient binds these.",
        "defects": "Findings",
        "samples": "Samples",
        "samples_text": "Drawn at random (seed {seed}), shown upright, boxes of fractures in "
        "yellow.",
        "no_samples": "No readable radiograph.",
        "shortcuts": "Facts that might be shortcuts",
        "shortcuts_text": "For each fact: how well it alone tells the classes apart (AUROC, 0.5 is "
        "chance; of several classes that of the one that it tells best), the size of the "
        "difference, and Holm's corrected p. Flagged are facts with p below 0.05 and a difference "
        "that is not negligible. Radiographs of one exam resemble each other, so that p is rather "
        "too small: trust the size of the difference more.",
        "shortcuts_none": "There is nothing to compare: fewer than two classes, or no fact varies.",
        "fact": "Fact",
        "difference": "Difference",
        "effect": "Effect",
        "alone": "AUROC alone",
        "p": "p (Holm)",
        "flag": "shortcut",
        "category": "{name}: {of} of {files} are {label} ({share}); elsewhere {elsewhere}",
        "quartiles": "median {values}",
        "disclaimer": "kirik is a tool for research and decision support, not a medical device.",
    },
    "tr": {
        "title": "{name} veri kümesinin denetimi",
        "radiographs": "radyografi",
        "decodable": "okunabiliyor",
        "must": "eğitimden önce düzeltilecek",
        "should": "göz önüne alınacak",
        "know": "bilinmesi iyi",
        "must_heading": "Eğitimden önce düzeltin",
        "should_heading": "Bölmeyle veya elle çözün",
        "know_heading": "Bilinmesi iyi olanlar",
        "good_heading": "İyi olanlar",
        "ready": "Eğitimden önce düzeltilmesi gereken bir şey yok.",
        "not_ready": "Eğitime hazır değil: önce {count} tür kusur giderilmeli.",
        "one_not_ready": "Eğitime hazır değil: önce bir tür kusur giderilmeli.",
        "unusable": "Bu veri kümesi olduğu gibi kullanılamaz.",
        "summary": "Özet",
        "what_to_do": "Ne yapmalı",
        "show": "{count} durumu göster",
        "one_show": "Durumu göster",
        "cut": "… ve {count} tane daha; hepsini `kirik data audit --json` verir.",
        "files": "{count} radyografi",
        "one_files": "1 radyografi",
        "contents": "İçinde ne var",
        "classes": "Sınıflar",
        "several": "Bir radyografi birkaç satırda sayılabilir.",
        "further": "{count} başka değer",
        "total": "hepsi",
        "boxes": "Kırık kutuları",
        "boxes_text": "{radiographs} radyografide {boxes} kutu; kırıklı olanların {without} "
        "tanesinde kutu yok. Ortanca kutu, görüntü kenarının {share} kadarı.",
        "boxes_none": "Veri kümesinde kutu yok: yer belirleme ölçülemez.",
        "groups": "Gruplar",
        "groups_text": "{groups} grupta {radiographs} radyografi var, en büyüğünde {largest}; "
        "{mixed} grupta birden çok sınıf bulunuyor.",
        "groups_none": "Veri kümesi hasta veya tetkik belirtmiyor; kirik'in bölmesi, kopyalardan "
        "ve komşu dosya numaralarından gruplar kurar.",
        "groups_of_copies": "Veri kümesi hasta veya tetkik belirtmiyor, dosya numaralarından da "
        "anlaşılmıyor: kirik'in bölmesi yalnızca kopyaları bir arada tutar. Bunları CSV'nin "
        "patient veya exam sütununda belirtin ya da her birine bir klasör verin.",
        "patients_text": "{files} DICOM dosyasının {without} tanesinde hasta kimliği yok ya da "
        "yerinde bir yer tutucu var (ANONYMOUS gibi ya da {most} taneden çok radyografide "
        "yinelenen aynı kimlik): bu dosyalar hasta bilgisiyle gruplanamaz.",
        "defects": "Bulgular",
        "samples": "Örnekler",
        "samples_text": "Rastgele seçildi (tohum {seed}), dik gösteriliyor, kırık kutuları sarı.",
        "no_samples": "Okunabilir radyografi yok.",
        "shortcuts": "Kestirme yol olabilecek özellikler",
        "shortcuts_text": "Her özellik için: tek başına sınıfları ne kadar ayırdığı (AUROC, 0,5 "
        "rastlantı düzeyidir; ikiden çok sınıfta en iyi ayırdığı sınıfınki), farkın büyüklüğü ve "
        "Holm düzeltmeli p. p'si 0,05'in altında ve farkı önemsiz olmayanlar işaretlenir. Bir "
        "tetkikin radyografileri birbirine benzediğinden p olması gerekenden küçüktür: farkın "
        "büyüklüğüne daha çok güvenin.",
        "shortcuts_none": "Karşılaştırılacak bir şey yok: ikiden az sınıf var veya hiçbir özellik "
        "değişmiyor.",
        "fact": "Özellik",
        "difference": "Fark",
        "effect": "Etki",
        "alone": "Tek başına AUROC",
        "p": "p (Holm)",
        "flag": "kestirme yol",
        "category": "{name}: {files} radyografinin {of} tanesi {label} ({share}); ötekilerde "
        "{elsewhere}",
        "quartiles": "ortanca {values}",
        "disclaimer": "kirik araştırma ve karar desteği aracıdır, tıbbi cihaz değildir.",
    },
}
