"""The words by which a request's kind is told: lower case, UTF-8, whole words unless they are phrases.

Kept short on purpose: a word is here because prompts of its kind hold it and others seldom do, not to be complete.
"""

from __future__ import annotations

from typing import NamedTuple


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


CODE = _words(
    """
    python javascript typescript java rust golang kotlin swift c++ c# php ruby sql html css regex bash dockerfile
    function class method def import return const async await null undefined struct lambda api endpoint json yaml
    bug debug refactor compile compiler stacktrace traceback exception segfault deadlock mutex thread goroutine
    unit tests pytest jest query index schema migration algorithm recursion pointer repository commit merge
    funktion klasse fehlermeldung fonction classe función clase código
    git github branch cron shell linux docker kubernetes terraform react component django flask spring node npm
    nullpointerexception loop array arrays string parser server database postgres postgresql mysql redis queue lock
    deque hashmap linked variable variables module package script scripts terminal programm skript datenbank
    """
)

MATHEMATICS = _words(
    """
    prove proof theorem lemma corollary integral derivative eigenvalue eigenvector matrix determinant polynomial
    equation equations inequality modulo prime primes probability expectation variance bayes converges convergence
    continuous differentiable topology bijective isomorphic homomorphism gradient hessian calculus algebra induction
    beweise beweis satz gleichung wahrscheinlichkeit ableitung démontre démontrer théorème équation probabilité
    demuestra teorema ecuación probabilidad derivada
    theorems proofs disprove infinitely irrational reals integers integral integrals convex polynomials matrices vector
    vectors logarithm bijection metric compact supremum cauchy finite modulus closed-form combinatorial permutation
    stetig konvergiert folge menge primzahl suite espace converge métrique fonctions sucesión converge matriz
    """
)

DEMANDS = _words(
    """
    analyse analyze compare contrast evaluate assess design architect plan strategy justify derive optimise optimize
    tradeoffs trade-offs constraints requirements implement investigate diagnose critique synthesise synthesize
    reconcile prioritise prioritize simultaneously alternatives assumptions consequences implications rigorous
    thoroughly comprehensive detailed roadmap migrate scalable consistency latency throughput failure risks
    propose review discuss examine determine investigate argue correctness estimate quantify interpret model simulate
    bisect confirm measure measurements evidence counterexample counter-example threshold robust rigorously formulate
    develop construct decision hypotheses criteria dependencies feasibility mitigate stakeholders scenario scenarios
    bottleneck bottlenecks invariant invariants complexity optimal why difference differences steps advice
    analysiere vergleiche bewerte entwirf begründe plane abwägen
    untersuche entwickle beurteile prüfe schätze herleite warum unterschied unterschiede schritte
    explain describe prepare overview briefing recommendation summary findings suitable
    erkläre beschreibe zusammenfassung vorteile nachteile
    explique décris Évalue évalue conçois justifie planifie avantages analiza compara evalúa diseña justifica planifica
    analyse compare propose construis estime pourquoi différence différences étapes
    propón estima argumenta desarrolla explica describe diferencia diferencias pasos
    """
)

CREATE = _words(
    """
    write compose create invent imagine craft draft brainstorm suggest tell give make come rewrite continue
    retell reimagine pen dream
    schreib schreibe verfasse erfinde dichte erzähl erzähle écris Écris écrire invente imagine compose raconte
    escribe compón inventa imagina cuenta crea
    """
)

WORKS = _words(
    """
    poem poems haiku sonnet limerick ballad verse rhyme rhymes story stories tale fable novel chapter screenplay dialogue
    monologue song lyrics slogan slogans tagline taglines joke jokes pun puns riddle character characters villain
    fantasy fairy fiction metaphor parody satire toast eulogy names nickname mascot
    villanelle ode epic elegy sketch skit jingle rap anecdote bedtime superhero protagonist
    gedicht gedichte geschichte märchen lied witz witze slogan reim roman kurzgeschichte
    gutenachtgeschichte ballade sage fabel drehbuch liedtext spruch
    poème histoire conte chanson blague slogan nouvelle poema cuento historia canción chiste eslogan
    """
)


class Phrases(NamedTuple):
    """Phrases of words, by the word they begin with, and signs, each with one byte of it; `firsts`: those words.

    What a phrase begins with is found fast, so only where that is there the phrase is searched for.
    """

    firsts: frozenset[bytes]
    worded: dict[bytes, tuple[bytes, ...]]
    signs: tuple[tuple[bytes, bytes], ...]


def _phrases(words: str, *signs: str) -> Phrases:
    """Phrases of words, one a line, and signs."""
    worded: dict[bytes, tuple[bytes, ...]] = {}
    for line in words.splitlines():
        if line.strip():
            first = line.replace("-", " ").replace(",", " ").replace("'", " ").split()[0].encode()
            worded[first] = (*worded.get(first, ()), line.strip().encode())
    return Phrases(frozenset(worded), worded, tuple((_rarest(sign.encode()), sign.encode()) for sign in signs))


def _rarest(sign: bytes) -> bytes:
    """The byte of a sign that prose has least: one that is no letter, digit or space."""
    return next((sign[at : at + 1] for at in range(len(sign)) if not sign[at : at + 1].isalnum()), sign[:1])


PHRASES: dict[str, Phrases] = {
    "code": _phrases("def", "```", "();", "{\n", "=> ", "#include", "</", "err !="),
    "mathematics": _phrases(
        "show that\nif and only if\nfor all",
        "\\frac",
        "\\int",
        "\\sum",
        "$$",
        "∑",
        "∫",
        "√",
        "≤",
        "∀",
        "∃",
        "^2",
        "x^",
        "证明",
        "定理",
        "函数",
    ),
    "demands": _phrases(
        """
        step by step
        step-by-step
        trade-off
        root cause
        pros and cons
        take into account
        edge cases
        schritt für schritt
        étape par étape
        paso a paso
        multi-step
        at least three
        on the one hand
        under the constraint
        first,
        finally,
        work out
        rule out
        find out
        """,
        "分析",
        "比较",
        "设计",
        "评估",
    ),
    "questions": _phrases(
        """
        how do
        how does
        how can
        how to
        what would
        what could
        wie kann
        wie funktioniert
        comment fonctionne
        """,
        "解释",
        "说明",
    ),
    "creation": _phrases(
        """
        once upon a time
        in the style of
        im stil von
        à la manière de
        al estilo de
        come up with
        brainstorm
        make up
        ideas for
        wedding speech
        birthday speech
        lettre d'amour
        """,
        "写一首",
        "写一个故事",
        "詩を書",
    ),
}
