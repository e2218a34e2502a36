"""What the report says, in English and Turkish."""

REPORT = {
    "en": {
        "title": "Evaluation",
        "of": "Evaluation of {model}",
        "part": "{n} radiographs from {groups} groups",
        "fractured": "{count} fractured ({share})",
        "intervals": "Under each figure stands its 95% interval: whole groups (one exam,"
        " duplicates) drawn again with replacement, {replicates} times; where every draw gives the"
        " same share, the exact one (Clopper-Pearson, a group counting once), and “–” where none"
        " can be given.",
        "skipped": "{skipped} draws lacked a class and were left out.",
        "no_intervals": "The figures have no intervals: there is a single group, or none were"
        " drawn.",
        "honest_title": "What these figures mean, and what they do not",
        "honest": "They say how well the classifier agrees with the labels of this data set, on"
        " radiographs like these. The labels come from readers of the radiographs, not from CT or"
        " follow-up, and may themselves be wrong. The intervals cover the chance in which exams"
        " were measured, not other hospitals, devices or patients, and not another run of the"
        " training. PPV and NPV hold at this share of fractures only; where fractures are rarer,"
        " more of the alarms are false.",
        "trained": "The model was trained on radiographs of this part: the figures say how well it"
        " remembers, not how well it reads.",
        "trained_on": "The model was trained on radiographs of this part, {count} of {n} by"
        " their ids: the figures say how well it remembers, not how well it reads.",
        "perhaps_trained": "Whether the model was trained on some of these radiographs is not"
        " known: the split that it was trained on is not at hand, or does not name most of their"
        " ids. If it was, the figures are too good.",
        "at_least": "at least {count}",
        "selected": "This part also chose the model, its calibration or its operating points: the"
        " figures are likely too good, and only a part that chose nothing is a test.",
        "one_class": "This part has radiographs of one class only: figures that need both do not"
        " exist.",
        "few_groups": "Too few groups ({groups}) for trustworthy intervals: those shown are too"
        " narrow.",
        "device": "A research tool, not a medical device: it must not be used alone to rule a"
        " fracture in or out.",
        "at_threshold": "at threshold {threshold}",
        "at_own_threshold": "at each fold's own threshold",
        "all_figures": "All figures",
        "figure": "Figure",
        "value": "Value",
        "interval": "95% interval",
        "meaning": "What it says",
        "curves": "Curves",
        "roc": "ROC curve",
        "pr": "Precision-recall curve",
        "confusion": "Confusion matrix at threshold {threshold}: radiographs, and percent of each"
        " label",
        "confusion_own": "Confusion matrix at each fold's own threshold: radiographs, and percent"
        " of each label",
        "confusion_classes": "Confusion matrix, class of the highest probability: radiographs,"
        " and percent of each label",
        "reliability": "Reliability: bins of equal mass, larger points hold more radiographs."
        " Above the dotted line fractures are more frequent than said.",
        "reliability_classes": "Reliability of the chosen class's probability, bins of equal mass",
        "histogram": "Probabilities by label",
        "three_way": "Three-way decision",
        "three_way_points": "Below {low}: no fracture. At or above {high}: fracture. Between, a"
        " person must decide. The points were chosen on other, validation radiographs.",
        "three_way_points_plain": "Below {low}: no fracture. At or above {high}: fracture."
        " Between, a person must decide.",
        "three_way_points_own": "The points of each fold were chosen on the other folds. The"
        " model's own, chosen on all of them: below {low} no fracture, at or above {high} fracture;"
        " between, a person must decide.",
        "three_way_sentence": "Of 100 radiographs like these, {fracture} would be called"
        " “fracture”, {no_fracture} “no fracture”, and {uncertain} left to a person. Of the"
        " {fractured} fractured radiographs, {missed} would be dismissed.",
        "refused": "Refused by the scope gate, but measured here",
        "decision": "Decision",
        "radiographs": "Radiographs",
        "share": "Share",
        "label_fractured": "Fractured",
        "label_not_fractured": "Not fractured",
        "fracture": "fracture",
        "uncertain": "uncertain",
        "no_fracture": "no fracture",
        "by_class": "Class by class",
        "class": "Class",
        "subgroups": "Subgroups",
        "subgroups_note": "Whether it works equally well everywhere. A wide interval means few"
        " radiographs: what looks like a difference may be chance. Behind a real one may stand the"
        " data (more severe fractures, hardware) as well as the classifier.",
        "too_small": "too few",
        "too_small_note": "“too few”: fewer than 20 radiographs, or fewer than 5 of a label that"
        " the figure needs.",
        "prevalence": "Fractured",
        "examples": "Examples",
        "examples_note": "Chosen by rule, not by hand: the surest, or the most doubtful, of each"
        " kind, one per exam.",
        "evidence": "Show the evidence",
        "missed": "Missed fractures, the surest first",
        "false_alarm": "False alarms, the surest first",
        "found": "Fractures found, the surest first",
        "cleared": "Rightly cleared, the surest first",
        "wrong": "Wrong, the surest first",
        "right": "Right, the surest first",
        "doubtful": "The most doubtful",
        "label": "Label",
        "probability": "fracture",
        "training": "Training",
        "loss": "Loss per epoch",
        "accuracy": "Accuracy per epoch",
        "provenance": "Where this comes from",
        "facts": {
            "model": "Model",
            "network": "Network",
            "data_set": "Data set",
            "split": "Split",
            "part": "Part",
            "seed": "Seed of the training",
            "versions": "Versions at the training",
            "date": "Date",
            "weights": "Starting weights",
            "balance": "Balancing",
            "epochs": "Epochs",
            "image_size": "Input size",
            "temperature": "Calibration temperature",
            "commit": "Commit",
            "bootstrap_seed": "Seed of the intervals",
            "data_sha256": "SHA-256 of the training data",
            "unreadable": "Not readable, left out",
            "seen_in_training": "Of these, trained on (by their ids)",
            "seen_at_least": "Of these, trained on at least (by their ids)",
            "averages": "Average of",
            "overview": "First network, on the whole radiograph",
            "start": "Began with the weights of",
            "final": "Model made of the folds",
            "cost": "Cost",
        },
        "fact_values": {
            "weights": {"none": "none, from random weights", "hub": "timm's"},
            "final": {"average": "the average of their networks", "none": "none"},
        },
        "cost": {
            "size": "input of {size} × {size} pixels",
            "parameters": "{parameters} million parameters",
            "gflops": "{gflops} GFLOP for a radiograph",
            "megabytes": "{megabytes} MB",
            "readings_per_second": "{readings_per_second} radiographs read in a second (CPU cores:"
            " {cores})",
        },
        "meanings": {
            "auroc": "chance that a fractured radiograph gets a higher probability than another",
            "auprc": "mean precision over all recalls; compare with the share of fractures",
            "sensitivity": "share of the fractured that are called fractured",
            "specificity": "share of the others that are not",
            "ppv": "share of the alarms that are right",
            "npv": "share of the all-clears that are right",
            "accuracy": "share that is right; misleading where fractures are rare",
            "balanced_accuracy": "mean of sensitivity and specificity",
            "f1": "harmonic mean of PPV and sensitivity",
            "mcc": "correlation of call and label, −1 to 1",
            "sensitivity_at_specificity_90": "threshold taken on these same radiographs",
            "specificity_at_sensitivity_90": "threshold taken on these same radiographs",
            "specificity_at_sensitivity_95": "threshold taken on these same radiographs",
            "brier": "mean squared error of the probability; 0 is best",
            "ece": "mean gap between probability and frequency, 15 bins of equal mass; 0 is best",
            "log_loss": "natural logarithm; 0 is best",
            "peak_on_fracture": "the evidence map's highest point lies in a marked fracture",
        },
    },
    "tr": {
        "title": "Değerlendirme",
        "of": "{model}: değerlendirme",
        "part": "{groups} gruptan {n} radyografi",
        "fractured": "{count} kırıklı ({share})",
        "intervals": "Her değerin altında %95 güven aralığı yer alır: gruplar (aynı tetkik,"
        " kopyalar) bütün olarak {replicates} kez yeniden örneklenmiştir; her örneklemde aynı çıkan"
        " oranlar için kesin aralık (Clopper-Pearson, her grup bir kez sayılır), aralık"
        " verilemeyen yerde “–” yazılıdır.",
        "skipped": "{skipped} örneklemede sınıflardan biri eksikti; bunlar sayılmadı.",
        "no_intervals": "Değerlerin aralığı yok: tek bir grup var ya da yeniden örnekleme"
        " yapılmadı.",
        "honest_title": "Bu sayılar ne anlatır, ne anlatmaz",
        "honest": "Sınıflandırıcının, bunlara benzeyen radyografilerde bu veri kümesinin"
        " etiketleriyle ne kadar uyuştuğunu gösterirler. Etiketler BT veya izlemden değil,"
        " radyografiyi okuyanlardan gelir ve kendileri de hatalı olabilir. Aralıklar yalnızca"
        " hangi tetkiklerin ölçüldüğündeki rastlantıyı kapsar; başka hastaneleri, cihazları,"
        " hastaları ya da eğitimin yeniden yapılmasını kapsamaz. PPD ve NPD yalnızca buradaki"
        " kırık oranında geçerlidir; kırığın daha seyrek olduğu yerde alarmların daha çoğu"
        " yanlıştır.",
        "trained": "Model bu bölümün radyografileriyle eğitildi: sayılar ne kadar iyi okuduğunu"
        " değil, ne kadar iyi hatırladığını gösterir.",
        "trained_on": "Model bu bölümün radyografileriyle (kimliklerine göre {n} radyografinin"
        " {count} tanesiyle) eğitildi: sayılar ne kadar iyi okuduğunu değil, ne kadar iyi"
        " hatırladığını gösterir.",
        "perhaps_trained": "Modelin bu radyografilerin bir kısmıyla eğitilip eğitilmediği"
        " bilinmiyor: eğitildiği bölme elde değil ya da bunların kimliklerinin çoğunu"
        " içermiyor. Eğitildiyse sayılar gerçekte olduğundan iyidir.",
        "at_least": "en az {count}",
        "selected": "Modelin, kalibrasyonun ya da çalışma noktalarının seçiminde bu bölüm de"
        " kullanıldı: sayılar büyük olasılıkla fazla iyimserdir; ancak hiçbir seçimde kullanılmayan"
        " bir bölüm test sayılır.",
        "one_class": "Bu bölümde tek bir sınıftan radyografi var: iki sınıfı da gerektiren"
        " değerler hesaplanamaz.",
        "few_groups": "Güvenilir aralıklar için grup sayısı çok az ({groups}): gösterilen aralıklar"
        " fazla dar.",
        "device": "Araştırma aracıdır, tıbbi cihaz değildir: kırık tanısı koymak ya da kırığı"
        " dışlamak için tek başına kullanılmamalıdır.",
        "at_threshold": "eşik {threshold}",
        "at_own_threshold": "her katın kendi eşiğinde",
        "all_figures": "Bütün değerler",
        "figure": "Ölçüt",
        "value": "Değer",
        "interval": "%95 güven aralığı",
        "meaning": "Anlamı",
        "curves": "Eğriler",
        "roc": "ROC eğrisi",
        "pr": "Kesinlik-duyarlılık eğrisi",
        "confusion": "{threshold} eşiğinde karışıklık matrisi: radyografi sayısı ve etiketin"
        " yüzdesi",
        "confusion_own": "Her katın kendi eşiğinde karışıklık matrisi: radyografi sayısı ve"
        " etiketin yüzdesi",
        "confusion_classes": "En yüksek olasılıklı sınıfa göre karışıklık matrisi: radyografi"
        " sayısı ve etiketin yüzdesi",
        "reliability": "Güvenilirlik: eşit sayılı dilimler, büyük noktalarda daha çok radyografi"
        " var. Noktalı çizginin üstünde kırık, tahmin edilenden daha sıktır.",
        "reliability_classes": "Seçilen sınıfın olasılığının güvenilirliği, eşit sayılı dilimler",
        "histogram": "Etikete göre olasılıklar",
        "three_way": "Üçlü karar",
        "three_way_points": "{low} altında: kırık yok. {high} ve üstünde: kırık. Arada kararı bir"
        " insan vermelidir. Noktalar başka radyografilerde, doğrulama bölümünde seçilmiştir.",
        "three_way_points_plain": "{low} altında: kırık yok. {high} ve üstünde: kırık. Arada"
        " kararı bir insan vermelidir.",
        "three_way_points_own": "Her katın noktaları öteki katlarda seçilmiştir. Modelin bütün"
        " katlarda seçilen kendi noktaları: {low} altında kırık yok, {high} ve üstünde kırık;"
        " arada kararı bir insan vermelidir.",
        "three_way_sentence": "Bunlara benzeyen 100 radyografinin {fracture} tanesine “kırık”,"
        " {no_fracture} tanesine “kırık yok” denir, {uncertain} tanesi bir insana bırakılır."
        " {fractured} kırıklı radyografiden {missed} tanesi atlanır.",
        "refused": "Kapsam dışı diye reddedilecek, burada yine de ölçülen",
        "decision": "Karar",
        "radiographs": "Radyografi",
        "share": "Pay",
        "label_fractured": "Kırıklı",
        "label_not_fractured": "Kırıksız",
        "fracture": "kırık",
        "uncertain": "belirsiz",
        "no_fracture": "kırık yok",
        "by_class": "Sınıf sınıf",
        "class": "Sınıf",
        "subgroups": "Alt gruplar",
        "subgroups_note": "Her yerde aynı ölçüde iyi mi? Geniş aralık az radyografi demektir: fark"
        " gibi görünen şey rastlantı olabilir. Gerçek bir farkın ardında sınıflandırıcı kadar"
        " verinin kendisi de (daha ağır kırıklar, metal implant) bulunabilir.",
        "too_small": "çok az",
        "too_small_note": "“çok az”: 20’den az radyografi ya da değerin gerektirdiği etiketten"
        " 5’ten az.",
        "prevalence": "Kırıklı",
        "examples": "Örnekler",
        "examples_note": "Elle değil kuralla seçildi: her türün en emin olunanı ya da en"
        " kuşkulusu, her tetkikten bir tane.",
        "evidence": "Kanıtı göster",
        "missed": "Atlanan kırıklar, en emin olunan önce",
        "false_alarm": "Yanlış alarmlar, en emin olunan önce",
        "found": "Bulunan kırıklar, en emin olunan önce",
        "cleared": "Doğru elenenler, en emin olunan önce",
        "wrong": "Yanlışlar, en emin olunan önce",
        "right": "Doğrular, en emin olunan önce",
        "doubtful": "En kuşkulular",
        "label": "Etiket",
        "probability": "kırık",
        "training": "Eğitim",
        "loss": "Epok başına kayıp",
        "accuracy": "Epok başına doğruluk",
        "provenance": "Kaynak",
        "facts": {
            "model": "Model",
            "network": "Ağ",
            "data_set": "Veri kümesi",
            "split": "Bölme",
            "part": "Bölüm",
            "seed": "Eğitimin tohumu",
            "versions": "Eğitimdeki sürümler",
            "date": "Tarih",
            "weights": "Başlangıç ağırlıkları",
            "balance": "Dengeleme",
            "epochs": "Epok sayısı",
            "image_size": "Girdi boyutu",
            "temperature": "Kalibrasyon sıcaklığı",
            "commit": "Sürüm kaydı",
            "bootstrap_seed": "Aralıkların tohumu",
            "data_sha256": "Eğitim verisinin SHA-256 özeti",
            "unreadable": "Okunamadı, dışarıda bırakıldı",
            "seen_in_training": "Bunlardan eğitimde görülen (kimliklerine göre)",
            "seen_at_least": "Bunlardan eğitimde görülen, en az (kimliklerine göre)",
            "averages": "Ortalaması alınan modeller",
            "overview": "Radyografinin bütününe bakan ilk ağ",
            "start": "Başlangıç ağırlıklarının modeli",
            "final": "Katlardan yapılan model",
            "cost": "Maliyet",
        },
        "fact_values": {
            "weights": {"none": "yok, rastgele ağırlıklarla", "hub": "timm’in ağırlıkları"},
            "final": {"average": "ağlarının ortalaması", "none": "yok"},
        },
        "cost": {
            "size": "{size} × {size} piksellik girdi",
            "parameters": "{parameters} milyon parametre",
            "gflops": "bir radyografi için {gflops} GFLOP",
            "megabytes": "{megabytes} MB",
            "readings_per_second": "saniyede {readings_per_second} radyografi (işlemci çekirdeği:"
            " {cores})",
        },
        "meanings": {
            "auroc": "kırıklı bir radyografinin kırıksızdan yüksek olasılık alma şansı",
            "auprc": "bütün duyarlılıklarda ortalama kesinlik; kırık oranıyla karşılaştırın",
            "sensitivity": "kırıklılardan “kırık” denenlerin payı",
            "specificity": "kırıksızlardan “kırık” denmeyenlerin payı",
            "ppv": "pozitif prediktif değer: alarmlardan doğru olanların payı",
            "npv": "negatif prediktif değer: elenenlerden doğru olanların payı",
            "accuracy": "doğruların payı; kırığın seyrek olduğu yerde yanıltır",
            "balanced_accuracy": "duyarlılık ile özgüllüğün ortalaması",
            "f1": "PPD ile duyarlılığın harmonik ortalaması",
            "mcc": "karar ile etiketin korelasyonu, −1…1",
            "sensitivity_at_specificity_90": "eşik bu radyografilerin kendisinde alınmıştır",
            "specificity_at_sensitivity_90": "eşik bu radyografilerin kendisinde alınmıştır",
            "specificity_at_sensitivity_95": "eşik bu radyografilerin kendisinde alınmıştır",
            "brier": "olasılığın ortalama kare hatası; en iyisi 0",
            "ece": "olasılık ile sıklık arasındaki ortalama fark, eşit sayılı 15 dilim; en iyisi 0",
            "log_loss": "doğal logaritma; en iyisi 0",
            "peak_on_fracture": "kanıt haritasının en yüksek noktası işaretli kırığın içindedir",
        },
    },
}
