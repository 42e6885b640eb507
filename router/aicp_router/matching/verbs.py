"""Verbs: those of any request, whatever it is about.

`write`, `read` and `fix` say what to do, not with what: who writes code does not write letters. So they are no
evidence that a message and a profile are about the same; beside words that are, nothing is lost. Verbs that name a
kind of work by themselves (cook, translate, teach) are not here. By general knowledge of the languages, not from any
data.
"""

VERBS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": """
            add adds added become begin bring brings build builds built call calls came change changes
            changed check checks choose close complete create creates created decide deliver delivers describe
            describes develop develops developed do does explain explains feel fill find finds finish fix fixes
            fixed follow get gives handle handles hear hold improve improves keep leave lets list
            make makes manage manages move offer offers open prepare prepares produce produces put read reads receive
            remove run runs say send sends set sets speak speaks start stop
            take talk talks tell turn understand understands update wait want work
            works worked write writes wrote written""",
        "de": """
            arbeitet baue bauen baut bearbeite behebe beschreibe bringe entwickelt entwickeln entwickle erklär erkläre
            erklären erstelle erstellen erstellt erzähl erzähle finde finden gib hilf hole lese lesen lies liest mach
            mache machen macht nenne öffne repariere reparieren repariert sag sage schick schicke schreib schreibe
            schreiben schreibt sende starte suche suchen verbessere verstehe zeig zeige ändere""",
        "es": """
            abre arregla arreglar busca buscar cambia construye crea crear cuenta dame desarrolla desarrollar describe
            dime encuentra entiende envía envia escriba escribe escribir explica explicar haga hace hacer haz lee leer
            manda mejora muestra prepara repara reparar trabaja""",
        "fr": """
            aide cherche chercher comprend construis corrige crée cree créer décris développe développer dis donne
            ecris envoie explique expliquer fais faire fait lire lis lit montre ouvre prépare rédige répare réparer
            travaille trouve trouver écrire écris écrit""",
    }.items()
}
"""By language, as ISO 639-1, in the forms in which they stand in requests and profiles."""

ALL = frozenset().union(*VERBS.values())
