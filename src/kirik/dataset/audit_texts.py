"""An audit's findings for people, in English and Turkish: what it is, its meaning, what to do."""

# kind → (title, what it is and why it matters, what to do)
FINDINGS: dict[str, dict[str, tuple[str, str, str]]] = {
    "en": {
        "nothing_decodes": (
            "No file can be decoded",
            "Not one radiograph of this data set could be read.",
            "Download or export the data set again, and check its formats (JPEG, PNG, TIFF, "
            "DICOM).",
        ),
        "one_class": (
            "Only one class has readable radiographs",
            "A classifier cannot learn a difference of which it sees one side.",
            "Add radiographs of the other class, or repair those that cannot be read.",
        ),
        "opposite_labels": (
            "The same radiograph with opposite labels",
            "These are copies of one radiograph, or so alike that they may be (the details say "
            "which), and their labels contradict each other. Of true copies at least one is wrong: "
            "in training it teaches noise, in a test it cannot be answered.",
            "Have a radiologist decide, or exclude all copies. Never keep one at random.",
        ),
        "truncated": (
            "Truncated files",
            "The file ends before the radiograph does. Software that decodes it all the same fills "
            "the rest with a gray band; the details give the share of rows that are missing. Where "
            "one class has more of them, the band gives the label away.",
            "Get whole copies, or exclude them. Do not decode them leniently.",
        ),
        "label_disagreement": (
            "Sources disagree on the label",
            "Class folder, table and annotations do not say the same of these radiographs.",
            "Look at each and correct the source that is wrong; until then, exclude them.",
        ),
        "boxes_on_negative": (
            "Fracture boxes on radiographs labelled as not fractured",
            "The label says that there is no fracture, a box says where it is.",
            "Look at each and correct the label or remove the box.",
        ),
        "box_beyond_image": (
            "Boxes wholly outside their image",
            "Nothing of the box lies on the file as it is stored: it marks no fracture of it. Its "
            "numbers are of another image, in another order (x y width height is expected) or of "
            "another scale.",
            "Correct or remove the boxes. Training and measuring leave them out: a radiograph "
            "without another box is one whose fracture is not marked.",
        ),
        "annotation_of_other_size": (
            "Annotations of an image of another size",
            "The annotation file says that the image has another size than the file has (see the "
            "details): the radiograph was resized or cropped, and its annotations were not.",
            "Use the original files, or export the annotations anew. Training and measuring leave "
            "them out. `kirik data shrink` writes a small copy with its boxes.",
        ),
        "same_name_in_both_classes": (
            "The same file name in several classes",
            "It is ambiguous which of the files a table or an annotation means; all were left out.",
            "Rename or remove one of the files.",
        ),
        "undecodable": (
            "Files that cannot be decoded",
            "These files are no radiographs that can be read: empty, damaged, or of another "
            "format. The details give the reason.",
            "Get whole copies or remove them; they can be used neither in training nor in a test.",
        ),
        "missing_file": (
            "Files that are not there",
            "The table names radiographs that the folder does not have, or links lead to files "
            "that are gone.",
            "Complete the data set. If they are left out on purpose, remove their rows or links.",
        ),
        "not_an_image": (
            "Files of formats that are not read",
            "The table names these files, or they lie in a class folder, but they are neither "
            "JPEG, PNG, TIFF nor DICOM; they were left out.",
            "Convert or unpack them, or remove them.",
        ),
        "odd_name": (
            "File names that cannot be represented",
            "The names are not valid UTF-8, or begin or end with a blank, which no table keeps; "
            "the files were left out.",
            "Rename the files.",
        ),
        "confounder": (
            "Shortcuts: facts besides the bone that tell the classes apart",
            "These facts are distributed differently in the classes. A classifier may learn them "
            "instead of fractures, and then look better here than it is elsewhere.",
            "Facts of the file and its look: make them equal in preprocessing (size, grayscale, "
            "compression) and measure within one value. Facts of the exam (region, view, "
            "hardware): spread them evenly over the folds and report results for each.",
        ),
        "crowded_folder": (
            "Folders of more radiographs than a patient has",
            "A folder within a class is taken for a patient's or an exam's where it holds 40 "
            "radiographs at most. These hold more (see the details): nothing binds their "
            "radiographs as a whole, and if one is a patient's, a split tears it.",
            "If they are patients', list the radiographs in a CSV with a column patient.",
        ),
        "no_negative": (
            "No class means “no fracture”",
            "None of the classes (in the details) is named as the one without a fracture, so that "
            "a model of them tells types apart, but not whether there is a fracture: no three-way "
            "decision, no sensitivity.",
            "If one of them means that, rename it to normal or not_fractured. Else nothing.",
        ),
        "few_radiographs": (
            "Classes with few radiographs",
            "With fewer than 30 readable radiographs, no measure of this class means much.",
            "Collect more, or merge it with a related class.",
        ),
        "byte_duplicate": (
            "Identical files",
            "The same file under several names. If copies fall on both sides of a split, the test "
            "measures memory.",
            "Keep one of each, or keep the copies in one group; kirik's split does the latter.",
        ),
        "pixel_duplicate": (
            "Different files with identical pixels",
            "Saved twice, with other metadata, colour mode or format.",
            "As for identical files: keep one of each, or keep them in one group.",
        ),
        "near_duplicate": (
            "Near-duplicates",
            "Radiographs that correlate above 0.97 as thumbnails: compressed again, cut a little "
            "differently, or two exposures of one exam.",
            "Keep them on one side of the split; kirik's split does so.",
        ),
        "turned_duplicate": (
            "Mirrored or turned copies",
            "Radiographs that correlate above 0.99 once mirrored or turned by a quarter. Besides "
            "the leak, the side of the body is wrong in one of them.",
            "Keep them on one side of the split, and find out which one is the original.",
        ),
        "inverted_duplicate": (
            "Inverted copies",
            "Radiographs that correlate below −0.99: one is the other's negative, as an export "
            "makes it that ignores DICOM's MONOCHROME1. Besides the leak, bone is dark in one of "
            "them.",
            "Keep them on one side of the split; kirik's split does so. Export the negative anew.",
        ),
        "box_outside_image": (
            "Boxes outside their image",
            "A box passes the border of the file as it is stored, or has no area. Often the boxes "
            "were drawn on a copy that had been turned or resized.",
            "Correct the boxes. Labels are not concerned, localization is.",
        ),
        "bad_annotation": (
            "Annotations that cannot be used",
            "Boxes or outlines that are incomplete or not numbers; they were left out.",
            "Correct them in the annotation file.",
        ),
        "annotation_of_unknown_image": (
            "Annotations of unknown images",
            "The annotation file names images that the data set does not have.",
            "Complete the data set, or remove the annotations.",
        ),
        "unlisted_file": (
            "Files that nothing lists",
            "They lie in the folder, but the table does not name them or no class folder holds "
            "them; what is not known of them stays unknown.",
            "Add their rows, put them into a class folder, or remove them.",
        ),
        "same_name_twice": (
            "The same file name twice in one class",
            "It is ambiguous which file is meant; they were left out.",
            "Rename or remove one of the files.",
        ),
        "duplicate_row": (
            "Radiographs that are listed more than once",
            "The table has several rows for them; the first one counts.",
            "Remove the rows that are wrong.",
        ),
        "empty_folder": (
            "Class folders without a radiograph",
            "The folder looks like a class, and nothing is in it.",
            "Fill or remove it.",
        ),
        "exif_orientation": (
            "Radiographs that are stored turned",
            "Their EXIF orientation (in the details) asks the viewer to turn them. kirik does; "
            "software that does not sees them lying, and boxes count in stored pixels.",
            "Nothing within kirik, unless a CSV's boxes were drawn on what a viewer shows upright: "
            "turn those back. For other tools, save them upright and turn their boxes too.",
        ),
        "missing_table": (
            "The data set's table is absent",
            "Region, view and hardware are unknown, so that leaks and shortcuts by them cannot "
            "be seen.",
            "Add dataset.csv.",
        ),
        "missing_annotations": (
            "No annotations",
            "Without boxes, localization cannot be measured.",
            "Add the annotation file, if there is one.",
        ),
        "missing_column": (
            "Columns that the table lacks",
            "What they would say is unknown.",
            "Add them, if you need them.",
        ),
        "unknown_column": (
            "Columns without a meaning to kirik",
            "They are kept as facts and are tested as possible shortcuts.",
            "Nothing, or correct the name if it is a slip.",
        ),
        "unused_table": (
            "Tables that were not read",
            "The class folders give the labels, so that the table was left aside.",
            "Give the path of the table if it is meant.",
        ),
        "other": ("Further remarks", "Found while reading the data set.", "See the details."),
    },
    "tr": {
        "nothing_decodes": (
            "Hiçbir dosya açılamıyor",
            "Bu veri kümesinin hiçbir radyografisi okunamadı.",
            "Veri kümesini yeniden indirin veya dışa aktarın; biçimleri (JPEG, PNG, TIFF, DICOM) "
            "denetleyin.",
        ),
        "one_class": (
            "Yalnızca bir sınıfın okunabilir radyografisi var",
            "Sınıflandırıcı, tek yanını gördüğü bir farkı öğrenemez.",
            "Öteki sınıftan radyografi ekleyin veya okunamayanları onarın.",
        ),
        "opposite_labels": (
            "Aynı radyografi, karşıt etiketler",
            "Bunlar bir radyografinin kopyalarıdır ya da kopya denecek kadar benzerler (hangisi "
            "olduğu ayrıntılarda yazar) ve etiketleri çelişiyor. Gerçek kopyaların en az biri "
            "yanlıştır: eğitimde gürültü öğretir, testte doğru yanıtı yoktur.",
            "Kararı bir radyolog versin ya da bütün kopyaları dışlayın. Rastgele birini tutmayın.",
        ),
        "truncated": (
            "Yarım kalmış dosyalar",
            "Dosya, radyografi tamamlanmadan bitiyor. Yine de açan yazılımlar kalanı gri bir "
            "bantla doldurur; ayrıntılarda eksik satırların payı yazar. Bir sınıfta daha sıksa "
            "bant etiketi ele verir.",
            "Tam kopyalarını edinin veya dışlayın. Hoşgörülü çözücüyle açmayın.",
        ),
        "label_disagreement": (
            "Kaynaklar etikette anlaşamıyor",
            "Sınıf klasörü, tablo ve işaretlemeler bu radyografiler için aynı şeyi söylemiyor.",
            "Her birine bakıp yanlış kaynağı düzeltin; o zamana dek dışlayın.",
        ),
        "boxes_on_negative": (
            "Kırıksız etiketli radyografilerde kırık kutuları",
            "Etiket kırık yok diyor, kutu ise kırığın yerini gösteriyor.",
            "Her birine bakıp etiketi düzeltin veya kutuyu kaldırın.",
        ),
        "box_beyond_image": (
            "Görüntüsünün tümüyle dışındaki kutular",
            "Kutunun hiçbir yeri, dosyanın saklandığı haldeki görüntüye düşmüyor: orada bir kırığı "
            "göstermez. Sayıları başka bir görüntüye, başka bir sıraya (beklenen: x y genişlik "
            "yükseklik) veya başka bir ölçeğe aittir.",
            "Kutuları düzeltin veya kaldırın. Eğitim de ölçüm de onları saymaz: başka kutusu "
            "olmayan radyografi, kırığı işaretlenmemiş sayılır.",
        ),
        "annotation_of_other_size": (
            "İşaretlemeler başka boyuttaki bir görüntü için",
            "İşaretleme dosyasına göre görüntünün boyutu dosyanınkinden başka (ayrıntılarda): "
            "radyografi küçültülmüş ya da kırpılmış, işaretlemeleri olduğu gibi kalmış.",
            "Özgün dosyaları kullanın ya da işaretlemeleri yeniden dışa aktarın. Eğitim ve ölçüm "
            "bunları dışarıda bırakır. Küçük bir kopyayı `kirik data shrink` kutularıyla yazar.",
        ),
        "same_name_in_both_classes": (
            "Birden çok sınıfta aynı dosya adı",
            "Tablonun veya işaretlemenin hangisini kastettiği belirsiz; dışarıda bırakıldılar.",
            "Dosyalardan birini yeniden adlandırın veya kaldırın.",
        ),
        "undecodable": (
            "Açılamayan dosyalar",
            "Bu dosyalar okunabilir radyografi değil: boş, bozuk veya başka biçimde. Nedeni "
            "ayrıntılarda yazar.",
            "Sağlam kopyalarını edinin veya kaldırın; ne eğitimde ne testte kullanılabilirler.",
        ),
        "missing_file": (
            "Yerinde olmayan dosyalar",
            "Tabloda, klasörde bulunmayan radyografilerin adı geçiyor ya da bağlantılar artık var "
            "olmayan dosyaları gösteriyor.",
            "Veri kümesini tamamlayın. Bilerek çıkarıldılarsa satırlarını veya bağlantılarını "
            "silin.",
        ),
        "not_an_image": (
            "Okunmayan biçimlerdeki dosyalar",
            "Tabloda ya da bir sınıf klasöründe bulunan bu dosyalar JPEG, PNG, TIFF veya DICOM "
            "değil; dışarıda bırakıldılar.",
            "Dönüştürün, arşivden çıkarın veya kaldırın.",
        ),
        "odd_name": (
            "Yazılamayan dosya adları",
            "Adları geçerli UTF-8 değil veya başında ya da sonunda tabloların tutmadığı bir boşluk "
            "var; dosyalar dışarıda bırakıldı.",
            "Dosyaları yeniden adlandırın.",
        ),
        "confounder": (
            "Kestirme yollar: kemik dışında sınıfları ele veren özellikler",
            "Bu özellikler sınıflarda farklı dağılıyor. Sınıflandırıcı kırık yerine bunları "
            "öğrenebilir; o zaman burada, başka yerde olduğundan daha iyi görünür.",
            "Dosya ve görünüm özelliklerini ön işlemede eşitleyin (boyut, gri tonlama, sıkıştırma) "
            "ve tek bir değer içinde ölçün. Tetkik özelliklerini (bölge, projeksiyon, metal "
            "implant) katlara dengeli dağıtın ve her biri için ayrı sonuç bildirin.",
        ),
        "crowded_folder": (
            "Bir hastada olandan çok radyografi içeren klasörler",
            "Bir sınıfın içindeki klasör, en çok 40 radyografi içeriyorsa bir hastanın ya da bir "
            "tetkikin sayılır. Bunlarda daha çok var (ayrıntılarda): radyografilerini bütün olarak "
            "hiçbir şey bağlamaz; biri bir hastanınsa o hasta bölmenin birkaç yanına düşer.",
            "Hasta klasörüyseler radyografileri, patient sütunu olan bir CSV'de listeleyin.",
        ),
        "no_negative": (
            "Hiçbir sınıf “kırık yok” anlamına gelmiyor",
            "Sınıflardan (ayrıntılarda) hiçbirinin adı kırıksız olanı göstermiyor; bunlarla "
            "eğitilen model türleri ayırır, ama kırık olup olmadığını söylemez: üçlü karar da "
            "duyarlılık da olmaz.",
            "Biri bu anlamdaysa adını normal veya not_fractured yapın. Değilse bir şey gerekmez.",
        ),
        "few_radiographs": (
            "Az radyografili sınıflar",
            "30’dan az okunabilir radyografiyle bu sınıfın hiçbir ölçütü güvenilir değildir.",
            "Daha çok toplayın veya yakın bir sınıfla birleştirin.",
        ),
        "byte_duplicate": (
            "Özdeş dosyalar",
            "Birkaç ad altında aynı dosya. Kopyalar bölmenin iki yanına düşerse test ezberi ölçer.",
            "Her birinden tek kopya tutun veya kopyaları bir grupta tutun; kirik'in bölmesi "
            "ikincisini yapar.",
        ),
        "pixel_duplicate": (
            "Pikselleri özdeş, kendileri farklı dosyalar",
            "Başka üst veri, renk kipi veya biçimle iki kez kaydedilmiş.",
            "Özdeş dosyalar gibi: birini tutun veya hepsini bir grupta tutun.",
        ),
        "near_duplicate": (
            "Neredeyse aynı radyografiler",
            "Küçük resim olarak korelasyonu 0,97'nin üstünde olanlar: yeniden sıkıştırılmış, biraz "
            "farklı kesilmiş ya da bir tetkikin iki çekimi.",
            "Bölmenin aynı yanında tutun; kirik'in bölmesi böyle yapar.",
        ),
        "turned_duplicate": (
            "Aynalanmış veya döndürülmüş kopyalar",
            "Aynalanınca veya çeyrek tur döndürülünce korelasyonu 0,99'u aşanlar. Sızıntı bir "
            "yana, birinde vücudun tarafı da yanlıştır.",
            "Bölmenin aynı yanında tutun ve hangisinin asıl olduğunu bulun.",
        ),
        "inverted_duplicate": (
            "Negatif kopyalar",
            "Korelasyonu −0,99'un altında olanlar: biri ötekinin negatifidir; DICOM'un "
            "MONOCHROME1'ini yok sayan bir dışa aktarım böyle yapar. Sızıntı bir yana, birinde "
            "kemik koyu görünür.",
            "Bölmenin aynı yanında tutun; kirik'in bölmesi böyle yapar. Negatif olanı yeniden "
            "dışa aktarın.",
        ),
        "box_outside_image": (
            "Görüntünün dışına taşan kutular",
            "Kutu, dosyanın saklandığı haldeki sınırını aşıyor veya alanı yok. Çoğu kez kutular "
            "döndürülmüş ya da boyutu değiştirilmiş bir kopyada çizilmiştir.",
            "Kutuları düzeltin. Etiketleri değil, yer belirlemeyi etkiler.",
        ),
        "bad_annotation": (
            "Kullanılamayan işaretlemeler",
            "Eksik veya sayı olmayan kutular ya da sınırlar; dışarıda bırakıldılar.",
            "İşaretleme dosyasında düzeltin.",
        ),
        "annotation_of_unknown_image": (
            "Bilinmeyen görüntülerin işaretlemeleri",
            "İşaretleme dosyasında, veri kümesinde olmayan görüntülerin adı geçiyor.",
            "Veri kümesini tamamlayın veya işaretlemeleri kaldırın.",
        ),
        "unlisted_file": (
            "Hiçbir yerde listelenmeyen dosyalar",
            "Klasördeler, ama tabloda ya da bir sınıf klasöründe değiller; haklarındaki bilgi "
            "eksik kalır.",
            "Satırlarını ekleyin, bir sınıf klasörüne koyun veya kaldırın.",
        ),
        "same_name_twice": (
            "Bir sınıfta iki kez aynı dosya adı",
            "Hangi dosyanın kastedildiği belirsiz; dışarıda bırakıldılar.",
            "Dosyalardan birini yeniden adlandırın veya kaldırın.",
        ),
        "duplicate_row": (
            "Birden çok kez listelenen radyografiler",
            "Tabloda birkaç satırları var; ilki geçerli.",
            "Yanlış satırları silin.",
        ),
        "empty_folder": (
            "Radyografisiz sınıf klasörleri",
            "Klasör bir sınıfa benziyor, ama içi boş.",
            "Doldurun veya kaldırın.",
        ),
        "exif_orientation": (
            "Döndürülmüş saklanan radyografiler",
            "EXIF yönü (ayrıntılarda) görüntüleyiciden döndürmesini ister. kirik döndürür; "
            "döndürmeyen yazılım yatık görür. Kutular saklanan piksellerle sayılır.",
            "kirik içinde bir şey gerekmez; yalnız, bir CSV'nin kutuları görüntüleyicinin dik "
            "gösterdiği görüntüde çizildiyse onları geri döndürün. Başka araçlar için dik "
            "kaydedin, kutuları da döndürün.",
        ),
        "missing_table": (
            "Veri kümesinin tablosu yok",
            "Bölge, projeksiyon ve metal implant bilinmiyor; bunlarla ilgili sızıntı ve kestirme "
            "yollar görülemez.",
            "dataset.csv dosyasını ekleyin.",
        ),
        "missing_annotations": (
            "İşaretleme yok",
            "Kutular olmadan yer belirleme ölçülemez.",
            "Varsa işaretleme dosyasını ekleyin.",
        ),
        "missing_column": (
            "Tabloda olmayan sütunlar",
            "Bunların vereceği bilgi eksik kalır.",
            "Gerekiyorsa ekleyin.",
        ),
        "unknown_column": (
            "kirik için anlamı olmayan sütunlar",
            "Özellik olarak saklanır ve olası kestirme yol olarak sınanırlar.",
            "Bir şey gerekmez; ad yanlış yazıldıysa düzeltin.",
        ),
        "unused_table": (
            "Okunmayan tablolar",
            "Etiketleri sınıf klasörleri verdiğinden tablo bir yana bırakıldı.",
            "Kastedilen tabloysa onun yolunu verin.",
        ),
        "other": ("Başka notlar", "Veri kümesi okunurken bulundu.", "Ayrıntılara bakın."),
    },
}

# What may be said if a kind was not found.
CLEAN: dict[str, dict[str, str]] = {
    "en": {
        "undecodable": "every whole file decodes",
        "truncated": "no file is truncated",
        "opposite_labels": "no copies with opposite labels",
        "label_disagreement": "all sources agree on the labels",
        "missing_file": "every listed file is there",
        "box_outside_image": "every box lies inside its image",
        "byte_duplicate": "no identical files",
        "turned_duplicate": "no mirrored or turned copies",
        "exif_orientation": "no file is stored turned",
        "confounder": "no shortcut found among the facts that were tested",
    },
    "tr": {
        "undecodable": "tam olan her dosya açılıyor",
        "truncated": "yarım kalmış dosya yok",
        "opposite_labels": "karşıt etiketli kopya yok",
        "label_disagreement": "bütün kaynaklar etiketlerde anlaşıyor",
        "missing_file": "listedeki her dosya yerinde",
        "box_outside_image": "her kutu görüntüsünün içinde",
        "byte_duplicate": "özdeş dosya yok",
        "turned_duplicate": "aynalanmış veya döndürülmüş kopya yok",
        "exif_orientation": "döndürülmüş saklanan dosya yok",
        "confounder": "sınanan özellikler arasında kestirme yol bulunmadı",
    },
}
