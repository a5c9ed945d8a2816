"""Which language a text is in, from its script and its commonest words.

Used to stem terms and to answer in the reader's language, so it must be right on a passage and on a
question of five words, fast, and small. A table of function words does that.
"""

import re
from collections import Counter

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_SAMPLE_CHARS = 1500

# The commonest function words, question words among them, of the languages written in Latin letters.
_FUNCTION_WORDS = {
    "en": """the of and to in is that for it as was with be by on not he his but at are this have from
        or had an they which one you were her all their there been has when who will more no if
        out so what up its about into than them can only other new some could time these two may
        then do first any my now such like our over man me even most made after also did many must
        before how where why does would should your she we him during both between under while
        through because each those used using whose whom yet per within without according""",
    "es": """de la que el en y a los se del las un por con no una su para es al lo como más o pero sus
        le ha me si sin sobre este ya entre cuando todo esta ser son dos también fue había era muy
        años hasta desde está mi porque qué sólo han yo hay vez puede todos así nos ni parte tiene
        él uno donde bien tiempo mismo ese ahora cada e vida otro después te otros aunque esa eso
        hace otra gobierno tan durante siempre día tanto ella tres sí dijo sido gran país según
        menos cuál cuáles quién quiénes cómo cuándo dónde cuánto cuántos cuántas cuánta fueron
        eran estos estas esto ante tras mediante era tienen pueden hizo cual quien les nombre tuvo
        qué llamó dio""",
    "fr": """de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il
        sont ou avec son aux d'un d'une cette ces été être fait mais comme ont même elle leur tout
        nous on sa y deux bien où sans peut tous après ainsi ses entre quel quelle quels quelles
        quoi pourquoi comment quand combien était étaient vous je avait aussi dont fut très sous
        leurs lui avant depuis pendant si c'est n'est qu'il l'on cet contre encore""",
    "de": """der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es
        an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so
        zum war haben nur oder aber vor zur bis mehr durch man sein wurde sei wir ich ihr was wer
        wo wann warum welche welcher welches wieviel kann können waren wenn unter zwischen gegen
        diese dieser dieses keine mich mir uns alle sehr schon hatte ihre seine""",
    "it": """di e il la che in un a per è una sono mi si ho non lo ma ti ha i con le da se no come io
        ci questo qui gli più al dei della del nel nella delle alla anche o tra fra essere stato
        quando dove chi cosa perché quanto quale quali quanti era erano suo sua suoi loro degli
        dalla dal sul sulla nei nelle fu dopo prima senza molto ancora già ogni poi così solo
        stata stati può hanno dell' all' sull' dall' viene due anni""",
    "pt": """de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao
        ele das tem à seu sua ou ser quando muito há nos já está eu também só pelo pela até isso
        ela entre era depois sem mesmo aos ter seus quem nas me esse eles estão você tinha foram
        essa num nem suas meu às minha têm numa pelos qual quais onde quanto quantos porque são
        pode este esta sobre ainda cada dois anos durante após então""",
    "ca": """de la i el que a en els les per un una amb no es del al dels és com més va o pel han seva
        seu aquest aquesta ser entre també són però hi ha quan fins on molt què qui quin quina
        quins quines perquè això aquests aquestes havia tot tots sense sobre des durant segons
        cada dos anys pels nou ho ni si les seus""",
    "la": """et in est non ut ad cum sed quod si qui per ex ac atque nec aut esse sunt enim autem quae
        hoc vel eius sit amet lorem ipsum dolor consectetur consectetuer adipiscing elit nunc nam
        donec quis""",
    "nl": """de van het een en in is dat op te zijn voor met die aan niet er om ook als dan maar bij of
        uit nog door naar heeft tot ze wat over was hij worden wordt waar hun zich kan deze dit
        had wie welke hoe waarom wanneer hoeveel werd geen meer ik je we zou onder tegen tussen
        omdat zoals andere haar mijn veel moet kunnen hebben""",
    "sv": """och i att det som en på är av för med den till inte om ett han de var har jag från vi så
        kan men när man hade skulle år efter sig eller hur vad vem där varför vilken vilket vilka
        denna detta mycket också hon mot vid ska blev under sin sitt sina mellan alla bara över
        utan inom genom""",
    "da": """og i at det er en til på som for med den af der ikke de et han var har jeg fra vi så kan
        men om sig ved eller hvor hvad hvem hvorfor hvornår hvilken hvilke denne dette meget også
        hun mod skal blev efter sin mellem alle kun over uden være havde når ud op man blive været""",
    "no": """og i det som en på er av for med den til at ikke om et han de var har jeg fra vi så kan
        men når seg ved eller hvor hva hvem hvorfor hvilken hvilke denne dette mye også hun mot
        skal ble etter sin mellom alle bare over uten være hadde ut opp man bli vært noe""",
    "fi": """ja on ei se että hän oli ovat mutta kun myös joka kuin niin mitä missä milloin miksi kuka
        mikä miten ole tai jos sen hänen sekä voi vain jo olla tämä siitä noin vuonna mukaan
        kanssa jälkeen ennen oli olivat""",
    "ro": """de și în la a cu pe care din nu o un că este mai să pentru au ce prin fost al sau se după
        lui ca fi sunt era cel cea cei unde când cine cum care dacă dar această acest între fără
        până asupra avea aceste""",
    "pl": """i w na z do się nie to że jest o jak po od za przez dla są ale czy był była było który
        która które tego tym jego jej ich gdzie kiedy kto co dlaczego ile oraz przy może tylko już
        być także lub roku został""",
    "cs": """a v na se je s z do to že o k i za by po ve pro jako ale od tak byl byla bylo který která
        které jeho kde kdy kdo co proč kolik nebo při může jen již být také jsou není roku podle
        mezi však""",
    "hu": """a az és hogy nem is egy ez meg de van volt ki mi mit hol mikor miért hogyan mely melyik
        csak még már vagy mint el ha kell lehet azt ezt után szerint között által több minden
        nagyon lett volna""",
    "tr": """ve bir bu da de için ile olarak çok daha ne kim nerede nasıl neden hangi kaç ama gibi olan
        en sonra kadar var yok değil her o ki mi mı olduğu tarafından göre ise veya ancak""",
    "id": """yang dan di dari untuk dengan pada ini itu dalam adalah tidak ke akan oleh juga sebagai
        karena atau telah dapat apa siapa bagaimana mengapa kapan mana berapa ada mereka saya kami
        kita lebih antara setelah""",
}
_MARKS = {  # letters and signs that only one or few of them write
    "¿": "es", "¡": "es", "ñ": "es", "ß": "de", "ã": "pt", "õ": "pt", "ł": "pl", "ą": "pl", "ę": "pl",
    "ż": "pl", "ř": "cs", "ě": "cs", "ů": "cs", "ő": "hu", "ű": "hu", "ğ": "tr", "ı": "tr", "ş": "tr",
    "ț": "ro", "ș": "ro", "ă": "ro",
}  # fmt: skip
_ENDINGS = {
    "en": ("ing", "tion", "ed", "ly", "ness", "ment", "ity"),
    "es": ("ción", "ciones", "dad", "mente", "aron", "ieron", "ado", "ada", "ión", "ía"),
    "fr": ("tion", "eux", "eaux", "aient", "ment", "ée", "és"),
    "de": ("ung", "keit", "heit", "lich", "isch", "schaft", "en"),
    "it": ("zione", "zioni", "tà", "mente", "ato", "ata", "gli"),
    "pt": ("ção", "ções", "dade", "mente", "ou", "aram", "ado"),
}
_SCRIPTS = (
    (re.compile("[\u3040-\u30ff]"), "ja"),
    (re.compile("[\u4e00-\u9fff]"), "zh"),
    (re.compile("[\uac00-\ud7af]"), "ko"),
    (re.compile("[\u0400-\u04ff]"), "ru"),
    (re.compile("[\u0370-\u03ff]"), "el"),
    (re.compile("[\u0600-\u06ff]"), "ar"),
    (re.compile("[\u0590-\u05ff]"), "he"),
    (re.compile("[\u0900-\u097f]"), "hi"),
    (re.compile("[\u0b80-\u0bff]"), "ta"),
    (re.compile("[\u0e00-\u0e7f]"), "th"),
    (re.compile("[\u0530-\u058f]"), "hy"),
    (re.compile("[\u10a0-\u10ff]"), "ka"),
)
_SHORT_WORDS = 20
_FEWEST_FUNCTION_WORDS = 3
_LETTER_WEIGHT = 0.3  # single letters are formulas and labels as often as words
_UKRAINIAN = re.compile("[іїєґ]")
_PERSIAN = re.compile("[پچژگ]")


def _weights() -> dict[str, tuple[tuple[str, float], ...]]:
    """Word -> (language, weight) pairs; a word that several languages share says less."""
    owners: dict[str, list[str]] = {}
    for language, words in _FUNCTION_WORDS.items():
        for word in dict.fromkeys(words.split()):
            owners.setdefault(word, []).append(language)
    return {
        word: tuple((each, (1 if len(word) > 1 else _LETTER_WEIGHT) / len(them)) for each in them)
        for word, them in owners.items()
    }


_WORDS = _weights()


def language_of(text: str) -> str:
    """ISO 639-1 code of the text's main language, or "" when there is too little to tell."""
    sample = _sampled(text).lower()
    words = _WORD.findall(sample)
    return _by_script(sample, words) or _by_words(sample, words)


def _sampled(text: str) -> str:
    """The beginning, middle and end of a long text."""
    if len(text) <= 3 * _SAMPLE_CHARS:
        return text
    middle = len(text) // 2
    return " ".join((text[:_SAMPLE_CHARS], text[middle : middle + _SAMPLE_CHARS], text[-_SAMPLE_CHARS:]))


def _by_script(sample: str, words: list[str]) -> str:
    letters = sum(map(len, words))
    if sample.isascii() or not letters:
        return ""
    for pattern, language in _SCRIPTS:
        share = len(pattern.findall(sample)) / letters
        if share > (0.05 if language == "ja" else 0.3):
            return _neighbour(sample, language)
    return ""


def _neighbour(sample: str, language: str) -> str:
    """A script's main language, or another one that writes it with letters of its own."""
    if language == "ru" and _UKRAINIAN.search(sample):
        return "uk"
    if language == "ar" and _PERSIAN.search(sample):
        return "fa"
    return language


def _by_words(sample: str, words: list[str]) -> str:
    scores: Counter[str] = Counter()
    for word in words:
        for language, weight in _WORDS.get(word, ()):
            scores[language] += weight  # type: ignore[assignment]
    for mark, language in _MARKS.items():
        if mark in sample:
            scores[language] += 1
    if not scores or scores.most_common(1)[0][1] < 3:
        _by_endings(words, scores)
    best = scores.most_common(2)
    if not best or (len(best) == 2 and best[0][1] == best[1][1]):
        return ""
    return best[0][0] if _is_prose(words, best[0][0]) else ""


def _is_prose(words: list[str], language: str) -> bool:
    """Whether a longer text has several function words: labels of a chart hit one or two by chance."""
    if len(words) <= _SHORT_WORDS:
        return True
    hit = {
        word for word in words if len(word) > 1 and any(each == language for each, _ in _WORDS.get(word, ()))
    }
    return len(hit) >= _FEWEST_FUNCTION_WORDS


def _by_endings(words: list[str], scores: Counter[str]) -> None:
    """Word endings decide what too few function words leave open."""
    for word in words:
        if len(word) > 5:
            for language, endings in _ENDINGS.items():
                if word.endswith(endings):
                    scores[language] += 0.3  # type: ignore[assignment]
