"""Words too frequent to tell passages apart, without accents, in the languages most asked in."""

_ENGLISH = """
a about above after again against all am an and any are as at be because been before being
below between both but by can could d did do does doing down during each few for from further had has have
having he her here hers herself him himself his how i if in into is it its itself just ll m me more most my
myself no nor not now of off on once only or other our ours ourselves out over own re s same she should so
some such t than that the their theirs them themselves then there these they this those through to too under
until up ve very was we were what when where which while who whom why will with would you your yours
yourself yourselves
"""
_SPANISH = """
a al algo algun alguna algunas alguno algunos ante antes aquel aquella aquellas aquello aquellos aqui asi
aun aunque bajo bien cada como con contra cual cuales cuando cuanto de del desde donde durante e el ella
ellas ello ellos en entre era eran eres es esa esas ese eso esos esta estaba estaban estan estar estas este
esto estos estoy fue fueron ha habia habian haber hace hacia han has hasta hay he la las le les lo los mas
me mi mis mucho muchos muy nada ni no nos nosotros nuestra nuestras nuestro nuestros o os otra otras otro
otros para pero poco por porque pues que quien quienes se sea sean segun ser si sido sin sobre son soy su
sus suya suyo tambien tan tanto te tenia tiene tienen todo todos tu tus un una unas uno unos vosotros y ya
yo
"""
_FRENCH = """
a au aux avec c ce ces cet cette d dans de des du elle elles en est et etaient etait ete etre eux il ils j
je l la le les leur leurs lui m ma mais me meme mes moi mon n ne nos notre nous on ont ou par pas pour qu
que quel quelle quelles quels qui s sa se ses si son sont sur t ta te tes toi ton tu un une vos votre vous y
"""
_GERMAN = """
aber als am an auch auf aus bei bin bis bist da das dass dein dem den der des dich die dir du durch ein eine
einem einen einer eines er es euch fur hat hatte hatten haben ich ihm ihn ihnen ihr ihre im in ist ja kann
mein mich mir mit nach nicht noch nur ob oder ohne sehr sein seine sich sie sind so uber um und uns unser
unter vom von vor war waren was wenn wer wie wir wird zu zum zur
"""
_ITALIAN = """
a ad ai al alla alle agli anche c che chi ci come con cosa cui d da dai dal dalla dalle degli dei del della
delle di dove e ed era erano gli ha hanno i il in io l la le lei lo loro lui ma mi mia mio ne negli nei nel
nella nelle noi non o per piu quale quando quella quelle quelli quello questa queste questi questo se sei si
sia sono su sua sue sugli sui sul sulla sulle suo suoi ti tra tu tua tuo un una uno voi
"""
_PORTUGUESE = """
a ao aos aquela aquele as ate com como da das de dela dele depois do dos e ela elas ele eles em entre era
eram essa esse esta estao este eu foi foram ha isso isto ja lhe mais mas me mesmo meu minha muito na nao nas
nem no nos nossa nosso num numa o os ou para pela pelas pelo pelos por qual quando que quem se seja sem ser
seu seus so sua suas tambem te tem um uma umas uns voce
"""

STOP_WORDS = {
    code: frozenset(words.split())
    for code, words in {
        "de": _GERMAN,
        "en": _ENGLISH,
        "es": _SPANISH,
        "fr": _FRENCH,
        "it": _ITALIAN,
        "pt": _PORTUGUESE,
    }.items()
}
